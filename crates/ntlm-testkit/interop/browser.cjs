// A session of Chromium: MECHANISM BASE USER PASSWORD. A page, 24 subresources at once, 12 POSTs by fetch at once, a
// WebSocket, another page. Prints "ANSWER status user" for each answer.
const [mechanism, base, user, password] = process.argv.slice(2);
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { chromium } = require("playwright-core");

(async () => {
  // A profile of its own: in private windows Chromium shows its tickets to nobody.
  const profile = mkdtempSync(join(tmpdir(), "ntlm-chromium-"));
  const credentials = mechanism === "ntlm" ? { username: `EXAMPLE\\${user}`, password } : undefined;
  const browser = await chromium.launchPersistentContext(profile, {
    ignoreHTTPSErrors: true,
    httpCredentials: credentials,
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--auth-server-allowlist=*",
    ],
    env: process.env,
  });
  const tell = (answer) => console.log("ANSWER", answer.status(), answer.headers()["x-identity"] ?? "");
  if (mechanism === "kerberos") {
    // Chromium reads its allowlist and the GSS-API when it first meets Negotiate, and gives that page up.
    const first = await browser.newPage();
    await first.goto(`${base}/session/first`).catch(() => {});
  }
  const page = await browser.newPage();
  tell(await page.goto(`${base}/session/page`));
  const answers = await page.evaluate(async () => {
    const body = "x".repeat(50000);
    const load = async (path, options) => {
      const answer = await fetch(path, { cache: "no-store", ...options });
      await answer.text();
      return [answer.status, answer.headers.get("x-identity") ?? ""];
    };
    const times = (count, request) => Promise.all(Array.from({ length: count }, (_, n) => request(n)));
    const resources = await times(24, (n) => load(`/session/resource-${n}`));
    const posts = await times(12, (n) => load(`/session/post-${n}`, { method: "POST", body }));
    return [...resources, ...posts];
  });
  for (const [status, identity] of answers) console.log("ANSWER", status, identity);
  const greeting = await page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url);
        const said = [];
        socket.onopen = () => socket.send("an echo");
        socket.onmessage = (event) => said.push(event.data) === 2 && socket.close();
        socket.onclose = () => resolve(said);
      }),
    `${base.replace(/^http/, "ws")}/session/socket/?websocket`,
  );
  console.log("ANSWER", greeting[1] === "an echo" ? 101 : 0, greeting[0] ?? "");
  tell(await page.goto(`${base}/session/other`));
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
})().catch((error) => {
  console.log("error:", error.message);
  process.exit(1);
});
