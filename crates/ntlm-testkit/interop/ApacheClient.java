// A session of Apache HttpClient 4: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import org.apache.http.auth.AuthScope;
import org.apache.http.auth.NTCredentials;
import org.apache.http.client.config.AuthSchemes;
import org.apache.http.client.config.RequestConfig;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.entity.ByteArrayEntity;
import org.apache.http.impl.client.BasicCredentialsProvider;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.ssl.SSLContexts;
import org.apache.http.util.EntityUtils;

public class ApacheClient {
    public static void main(String[] arguments) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var file = new FileInputStream(System.getenv("SSL_CERT_FILE"))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var users = new BasicCredentialsProvider();
        users.setCredentials(AuthScope.ANY, new NTCredentials(arguments[1], arguments[2], "", "EXAMPLE"));
        var config = RequestConfig.custom().setTargetPreferredAuthSchemes(List.of(AuthSchemes.NTLM)).setSocketTimeout(50_000).build();
        var builder = HttpClients.custom().setDefaultCredentialsProvider(users).setDefaultRequestConfig(config)
            .setSSLContext(SSLContexts.custom().loadTrustMaterial(trusted, null).build());
        // A connection that is logged in belongs to a user, whom the client knows by the context alone.
        try (var client = builder.disableConnectionState().build()) {
            for (var path : new String[] {"one", "two", "three", "four"}) {
                var url = arguments[0] + "/session/" + path;
                var post = new HttpPost(url);
                post.setEntity(new ByteArrayEntity("x".repeat(100_000).getBytes()));
                try (var answer = client.execute(path.equals("three") ? post : new HttpGet(url))) {
                    EntityUtils.consume(answer.getEntity());
                    var user = answer.getFirstHeader("X-Identity");
                    System.out.println("ANSWER " + answer.getStatusLine().getStatusCode() + " " + (user == null ? "" : user.getValue()));
                }
            }
        }
    }
}
