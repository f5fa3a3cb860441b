// A peer: socket.io with its Redis adapter.   socketio.js PORT REDIS_URL
const http = require("http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");

async function main(port, url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const server = http.createServer((request, response) => response.writeHead(404).end());
  const io = new Server(server, { adapter: createAdapter(publisher, subscriber), transports: ["websocket"] });
  io.on("connection", (socket) => {
    socket.on("subscribe", async (channel) => {
      await socket.join(channel);
      socket.emit("subscribed", channel);
    });
  });
  server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

main(Number(process.argv[2]), process.argv[3]);
