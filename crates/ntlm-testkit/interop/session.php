<?php
// A session of PHP's curl: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
[, $base, $user, $password] = $argv;
$curl = curl_init();
foreach (["one", "two", "three", "four"] as $path) {
    $identity = "";
    curl_reset($curl);
    curl_setopt_array($curl, [
        CURLOPT_URL => "$base/session/$path",
        CURLOPT_HTTPAUTH => CURLAUTH_NTLM,
        CURLOPT_USERPWD => "EXAMPLE\\$user:$password",
        CURLOPT_CAINFO => getenv("SSL_CERT_FILE"),
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 50,
        CURLOPT_HEADERFUNCTION => function ($curl, $line) use (&$identity) {
            if (stripos($line, "x-identity:") === 0) {
                $identity = trim(substr($line, 11));
            }
            return strlen($line);
        },
    ]);
    if ($path == "three") {
        curl_setopt($curl, CURLOPT_POSTFIELDS, str_repeat("x", 100000));
    }
    if (curl_exec($curl) === false) {
        echo curl_error($curl), "\n";
    }
    echo "ANSWER ", curl_getinfo($curl, CURLINFO_RESPONSE_CODE), " $identity\n";
}
