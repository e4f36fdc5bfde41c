// A session of Java's HttpClient: BASE CA KIND FILE COUNT HELPER..., one request after the other over one connection. The helper
// turns challenges into tokens. Prints "ANSWER status user hash" for each answer.

import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.*;
import javax.net.ssl.*;

class Session {
    static HttpClient client;
    static String base, kind, file;

    static HttpResponse<byte[]> send(int number, String token) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(base + "/session/stream-" + number));
        switch (kind) {
            case "post" -> request.POST(BodyPublishers.ofFile(Path.of(file)));
            case "file" -> request.PUT(BodyPublishers.ofFile(Path.of(file)));
            case "pipe" -> request.PUT(BodyPublishers.ofInputStream(() -> open(file)));
            default -> request.GET();
        }
        if (token != null) request.header("Authorization", "Negotiate " + token);
        return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    }

    static InputStream open(String file) {
        try {
            return new FileInputStream(file);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static String challenge(HttpResponse<byte[]> response) {
        for (String value : response.headers().allValues("www-authenticate"))
            if (value.startsWith("Negotiate ")) return value.substring(10).strip();
        return "";
    }

    public static void main(String[] args) throws Exception {
        base = args[0];
        kind = args[2];
        file = args[3];
        var roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (var in = new FileInputStream(args[1])) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        client = HttpClient.newBuilder().sslContext(tls).build();
        for (int number = 0; number < Integer.parseInt(args[4]); number++) {
            var response = send(number, null);
            if (response.statusCode() == 401) {
                var helper = new ProcessBuilder(Arrays.copyOfRange(args, 5, args.length)).start();
                var challenges = new PrintWriter(helper.getOutputStream(), true);
                var tokens = new BufferedReader(new InputStreamReader(helper.getInputStream()));
                for (String challenge = ""; ; ) {
                    challenges.println(challenge);
                    response = send(number, tokens.readLine());
                    challenge = challenge(response);
                    if (response.statusCode() != 401 || challenge.isEmpty()) break;
                }
                challenges.close();
            }
            var headers = response.headers();
            System.out.println("ANSWER " + response.statusCode() + " " + headers.firstValue("X-Identity").orElse("")
                + " " + headers.firstValue("X-Body-Hash").orElse(""));
        }
    }
}
