// Answers as the clients of tests/live/client_load.py expect it, on the socket that prefork shares.
const http = require('node:http');
const net = require('node:net');

const body = `0001 ${process.pid} `.repeat(64);
let leaving = false;

const server = http.createServer((request, response) => {
  if (leaving) response.setHeader('Connection', 'close');
  response.end(body);
});
server.keepAliveTimeout = 75000;
server.listen({ fd: 3 });

process.on('SIGTERM', () => {
  leaving = true;
  // Not server.close(): that closes idle connections at once, and a client may be sending.
  net.Server.prototype.close.call(server, () => process.exit(0));
  setTimeout(() => server.closeIdleConnections(), 300).unref();
  setInterval(() => server.closeIdleConnections(), 1000).unref();
});
