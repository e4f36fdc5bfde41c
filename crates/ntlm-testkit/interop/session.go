// A session of Go's net/http: BASE CA KIND FILE COUNT HELPER..., one request after the other over one connection. The helper
// turns challenges into tokens. Prints "ANSWER status user hash" for each answer.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return value
}

func main() {
	base, ca, kind, file, count, helper := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6:]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(ca)))
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
	content := must(os.ReadFile(file))
	for number := 0; number < must(strconv.Atoi(count)); number++ {
		send := func(token string) *http.Response {
			method, body := "GET", io.Reader(nil)
			switch kind {
			case "post":
				method, body = "POST", bytes.NewReader(content)
			case "file":
				method, body = "PUT", bytes.NewReader(content)
			case "pipe":
				method, body = "PUT", io.MultiReader(bytes.NewReader(content))
			}
			request := must(http.NewRequest(method, fmt.Sprintf("%s/session/stream-%d", base, number), body))
			if token != "" {
				request.Header.Set("Authorization", "Negotiate "+token)
			}
			response := must(client.Do(request))
			must(io.Copy(io.Discard, response.Body))
			response.Body.Close()
			return response
		}
		response := send("")
		if response.StatusCode == 401 {
			process := exec.Command(helper[0], helper[1:]...)
			challenges := must(process.StdinPipe())
			tokens := bufio.NewReader(must(process.StdoutPipe()))
			must(0, process.Start())
			for challenge := ""; response.StatusCode == 401; {
				fmt.Fprintln(challenges, challenge)
				token := strings.TrimSpace(must(tokens.ReadString('\n')))
				response = send(token)
				challenge = ""
				for _, value := range response.Header.Values("WWW-Authenticate") {
					challenge += strings.TrimPrefix(strings.TrimPrefix(value, "Negotiate"), "NTLM")
				}
				if challenge = strings.TrimSpace(challenge); challenge == "" {
					break
				}
			}
			challenges.Close()
			process.Wait()
		}
		header := response.Header
		fmt.Println("ANSWER", response.StatusCode, header.Get("X-Identity"), header.Get("X-Body-Hash"))
	}
}
