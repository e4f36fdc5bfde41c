// A session of Java's HttpURLConnection: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
import java.io.FileInputStream;
import java.io.InputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class UrlConnection {
    public static void main(String[] arguments) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var file = new FileInputStream(System.getenv("SSL_CERT_FILE"))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());
        Authenticator.setDefault(new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication("EXAMPLE\\" + arguments[1], arguments[2].toCharArray());
            }
        });
        for (var path : new String[] {"one", "two", "three", "four"}) {
            var connection = (HttpURLConnection) URI.create(arguments[0] + "/session/" + path).toURL().openConnection();
            connection.setReadTimeout(50_000);
            if (path.equals("three")) {
                connection.setDoOutput(true);
                try (var body = connection.getOutputStream()) {
                    body.write("x".repeat(100_000).getBytes());
                }
            }
            var status = connection.getResponseCode();
            try (InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
                body.readAllBytes();
            }
            System.out.println("ANSWER " + status + " " + connection.getHeaderField("X-Identity"));
        }
    }
}
