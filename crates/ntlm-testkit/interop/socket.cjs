// A WebSocket server: says on which port it listens, tells each client who it is (X-Remote-User), and echoes.
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket, request) => {
  socket.send(request.headers["x-remote-user"] ?? "");
  socket.on("message", (message) => socket.send(message.toString()));
});
