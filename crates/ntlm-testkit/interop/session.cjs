// A session of a Node client: LIBRARY BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
const [library, base, user, password] = process.argv.slice(2);
const { promisify } = require("node:util");

const paths = ["one", "two", "three", "four"];
const body = "x".repeat(100000);
const tell = (answer) =>
  console.log("ANSWER", answer.statusCode ?? answer.status, answer.headers["x-identity"] ?? "");

async function withHttpntlm() {
  const httpntlm = require("httpntlm");
  const options = { username: user, password, domain: "EXAMPLE", workstation: "NODE" };
  for (const path of paths) {
    const url = `${base}/session/${path}`;
    const request = path === "three" ? { ...options, url, body } : { ...options, url };
    tell(await promisify(path === "three" ? httpntlm.post : httpntlm.get)(request));
  }
}

async function withAxios() {
  const { NtlmClient } = require("axios-ntlm");
  const client = NtlmClient({ username: user, password, domain: "EXAMPLE", workstation: "NODE" });
  for (const path of paths) {
    const url = `${base}/session/${path}`;
    tell(await (path === "three" ? client.post(url, body) : client.get(url)));
  }
}

(library === "httpntlm" ? withHttpntlm : withAxios)().then(
  () => process.exit(0),
  (error) => {
    console.log("error:", error.message);
    process.exit(1);
  },
);
