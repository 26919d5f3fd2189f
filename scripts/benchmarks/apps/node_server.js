// The applications of wsgi_apps.py on Node's http module, and a WebSocket echo on the package ws.
// Run as `node node_server.js PORT APP [CERT KEY]`; SIGTERM ends it.

"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");

const [port, app, cert, key] = process.argv.slice(2);

const answerWith = (text) => {
  const headers = { "Content-Type": "text/plain", "Content-Length": text.length };
  return (request, response) => {
    response.writeHead(200, headers);
    response.end(text);
  };
};

const jsonEcho = (request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.from(JSON.stringify(JSON.parse(Buffer.concat(pieces))));
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": body.length });
    response.end(body);
  });
};

const upload = (request, response) => {
  let length = 0;
  request.on("data", (piece) => { length += piece.length; });
  request.on("end", () => {
    const body = Buffer.from(String(length));
    response.writeHead(200, { "Content-Type": "text/plain", "Content-Length": body.length });
    response.end(body);
  });
};

const websocketEcho = (server) => {
  const { WebSocketServer } = require("ws");
  new WebSocketServer({ server }).on("connection", (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  });
};

const line = Buffer.from("0123456789abcde\n");
const apps = {
  hello: answerWith(Buffer.from("Hello, world!")),
  response_10k: answerWith(Buffer.concat(Array(640).fill(line))),
  response_1m: answerWith(Buffer.concat(Array(65536).fill(line))),
  json_echo: jsonEcho,
  upload,
};

const server = cert
  ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, apps[app])
  : http.createServer(apps[app]);
if (app === "websocket_echo") websocketEcho(server);
server.listen(Number(port), "127.0.0.1");
