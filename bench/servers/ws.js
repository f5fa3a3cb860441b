// A peer: node's `ws`, fed by the redis package.   ws.js PORT REDIS_URL
const http = require("http");
const { WebSocketServer } = require("ws");
const { createClient } = require("redis");

async function main(port, url) {
  const redis = createClient({ url });
  await redis.connect();
  const subscribers = new Map();
  const server = http.createServer((request, response) => response.writeHead(404).end());
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", async (socket, request) => {
    const channel = request.url.slice("/sub/".length);
    let here = subscribers.get(channel);
    if (here === undefined) {
      here = new Set();
      subscribers.set(channel, here);
      await redis.subscribe(channel, (message) => {
        for (const each of here) each.send(message);
      });
    }
    here.add(socket);
    socket.on("close", () => here.delete(socket));
    socket.on("error", () => here.delete(socket));
    socket.send("subscribed");
  });
  server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

main(Number(process.argv[2]), process.argv[3]);
