// A session of Mono's HttpWebRequest: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
using System;
using System.IO;
using System.Net;

class Session {
    static void Main(string[] arguments) {
        // Mono knows no CA but those of its own store.
        ServicePointManager.ServerCertificateValidationCallback = (sender, certificate, chain, errors) => true;
        foreach (var path in new[] { "one", "two", "three", "four" }) {
            var uri = new Uri(arguments[0] + "/session/" + path);
            var request = (HttpWebRequest) WebRequest.Create(uri);
            request.Credentials = new CredentialCache { { uri, "NTLM", new NetworkCredential(arguments[1], arguments[2], "EXAMPLE") } };
            request.UnsafeAuthenticatedConnectionSharing = true;
            request.Timeout = 50000;
            if (path == "three") {
                request.Method = "POST";
                request.ContentLength = 100000;
                using (var body = request.GetRequestStream()) {
                    body.Write(new byte[100000], 0, 100000);
                }
            }
            HttpWebResponse answer;
            try {
                answer = (HttpWebResponse) request.GetResponse();
            } catch (WebException error) when (error.Response != null) {
                answer = (HttpWebResponse) error.Response;
            }
            using (answer) {
                new StreamReader(answer.GetResponseStream()).ReadToEnd();
                Console.WriteLine("ANSWER " + (int) answer.StatusCode + " " + answer.Headers["X-Identity"]);
            }
        }
    }
}
