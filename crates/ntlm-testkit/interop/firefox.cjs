// A session of Firefox: SCHEME BASE USER PASSWORD KIND FILE COUNT ONCE|ROW. A page that asks for no login sends the requests by fetch.
// Prints "ANSWER status user hash" for each answer, and "PROMPT" whenever Firefox would ask its user for a password.
const [scheme, base, user, password, kind, file, count, pace] = process.argv.slice(2);
const { spawn } = require("node:child_process");
const { mkdtempSync, rmSync, statSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { WebSocket } = require("ws");

const profile = mkdtempSync(join(tmpdir(), "ntlm-firefox-"));
// These are the preferences that an administrator sets by a policy for sites where Firefox may log in without asking. The others keep
// Firefox from calling servers of its own.
const preferences = {
  "network.negotiate-auth.trusted-uris": scheme === "negotiate" ? "https://" : "",
  // Debian's asks Samba's ntlm_auth otherwise, for the user of the machine.
  "network.auth.force-generic-ntlm": true,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "network.http.http3.enable": false,
  "app.normandy.enabled": false,
  "app.update.disabledForTesting": true,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.enabled": false,
};
const line = ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`;
writeFileSync(join(profile, "user.js"), Object.entries(preferences).map(line).join(""));

const firefox = spawn(
  // Firefox ends with this program, however this program ends.
  "setpriv",
  ["--pdeathsig", "KILL", "firefox-esr", "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"],
  { stdio: ["ignore", "ignore", "pipe"], detached: true },
);
const end = (status) => {
  try {
    process.kill(-firefox.pid, "SIGKILL");
  } catch {}
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(status);
};
process.on("SIGTERM", () => end(1));

// WebDriver BiDi: https://www.w3.org/TR/webdriver-bidi/
function talk(url) {
  const socket = new WebSocket(url);
  const waiting = new Map();
  let last = 0;
  const command = (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, [resolve, reject]);
      socket.send(JSON.stringify({ id: last, method, params }));
    });
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.method === "network.authRequired") {
      console.log("PROMPT", message.params.request.url);
      const credentials = { type: "password", username: user, password };
      const answer = { request: message.params.request.request, action: "provideCredentials", credentials };
      command("network.continueWithAuth", answer).catch(() => {});
    }
    const [resolve, reject] = waiting.get(message.id) ?? [];
    if (message.type === "success") resolve?.(message.result);
    if (message.type === "error") reject?.(new Error(message.message));
  });
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve(command));
    socket.on("error", reject);
  });
}

const listens = new Promise((resolve) => {
  let said = "";
  firefox.stderr.on("data", (data) => {
    said += data;
    const url = said.match(/WebDriver BiDi listening on (ws:\S+)/);
    if (url) resolve(url[1]);
  });
});

// Runs in the page.
async function requests(base, kind, bytes, count, pace) {
  const body = Uint8Array.from({ length: bytes }, (_, n) => Math.floor(n / 7) % 251);
  const options = {
    none: {},
    post: { method: "POST", body },
    file: { method: "PUT", body: new Blob([body]) },
  }[kind];
  const one = async (number) => {
    try {
      const answer = await fetch(`${base}/session/stream-${number}`, { cache: "no-store", ...options });
      await answer.text();
      return `ANSWER ${answer.status} ${answer.headers.get("x-identity")} ${answer.headers.get("x-body-hash")}`;
    } catch (error) {
      return `error: ${number} ${error.message}`;
    }
  };
  if (pace === "ONCE") return Promise.all(Array.from({ length: count }, (_, number) => one(number)));
  const lines = [];
  for (let number = 0; number < count; number++) lines.push(await one(number));
  return lines;
}

(async () => {
  const command = await talk(`${await listens}/session`);
  await command("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
  await command("session.subscribe", { events: ["network.authRequired"] });
  await command("network.addIntercept", { phases: ["authRequired"] });
  const { contexts } = await command("browsingContext.getTree", {});
  const context = contexts[0].context;
  await command("browsingContext.navigate", { context, url: `${base}/public/page`, wait: "complete" });
  const values = [base, kind, statSync(file).size, Number(count), pace].map((value) => JSON.stringify(value));
  const { result } = await command("script.evaluate", {
    expression: `(${requests})(${values})`,
    target: { context },
    awaitPromise: true,
  });
  for (const { value } of result.value) console.log(value);
  end(0);
})().catch((error) => {
  console.log("error:", error.message);
  end(1);
});
