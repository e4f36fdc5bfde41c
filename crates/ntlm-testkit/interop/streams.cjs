// A session of Node: LIBRARY BASE CA KIND FILE COUNT HELPER..., one request after the other over one connection. The helper turns
// challenges into tokens. Prints "ANSWER status user hash" for each answer.
const [library, base, ca, kind, file, count, ...helper] = process.argv.slice(2);
const { spawn } = require("node:child_process");
const { createReadStream, readFileSync } = require("node:fs");
const { once } = require("node:events");
const { createInterface } = require("node:readline");

const method = { none: "GET", post: "POST" }[kind] ?? "PUT";
const body = () => (kind === "none" ? undefined : kind === "pipe" ? createReadStream(file) : readFileSync(file));

function withHttp2() {
  const session = require("node:http2").connect(base, { ca: readFileSync(ca) });
  session.on("error", (error) => console.log("error:", error.message));
  const send = async (path, headers) => {
    const content = body();
    const length = Buffer.isBuffer(content) ? { "content-length": content.length } : {};
    const stream = session.request({ ":path": path, ":method": method, ...length, ...headers }, { endStream: !content });
    if (Buffer.isBuffer(content)) stream.end(content);
    else content?.pipe(stream);
    const [answer] = await once(stream, "response");
    stream.resume();
    await once(stream, "end");
    return [answer[":status"], answer];
  };
  return [send, () => session.close()];
}

function withUndici() {
  const { Agent } = require("undici");
  const agent = new Agent({ allowH2: true, connect: { ca: readFileSync(ca) } });
  const send = async (path, headers) => {
    const answer = await agent.request({ origin: base, path, method, headers, body: body() });
    await answer.body.dump();
    return [answer.statusCode, answer.headers];
  };
  return [send, () => agent.close()];
}

(async () => {
  const [send, end] = library === "http2" ? withHttp2() : withUndici();
  for (let number = 0; number < Number(count); number++) {
    const path = `/session/stream-${number}`;
    let [status, headers] = await send(path, {});
    if (status === 401) {
      const child = spawn(helper[0], helper.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
      const tokens = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      for (let challenge = ""; ; ) {
        child.stdin.write(challenge + "\n");
        [status, headers] = await send(path, { authorization: "Negotiate " + (await tokens.next()).value });
        challenge = [headers["www-authenticate"]].flat().join(", ").match(/Negotiate ([\w+/=]+)/)?.[1] ?? "";
        if (status !== 401 || !challenge) break;
      }
      child.stdin.end();
    }
    console.log("ANSWER", status, headers["x-identity"], headers["x-body-hash"]);
  }
  end();
})().catch((error) => {
  console.log("error:", error.message);
  process.exit(1);
});
