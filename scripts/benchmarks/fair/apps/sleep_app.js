// The app of sleep_app.py for Node's cluster module. Run as `node sleep_app.js PORT WORKERS`.
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  for (let number = 0; number < workers; number++) cluster.fork();
} else {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  http.createServer((request, response) => {
    const ms = Number(request.url.slice(1));
    if (ms) Atomics.wait(cell, 0, 0, ms);
    response.end(`${process.pid}`);
  }).listen(port, '127.0.0.1');
}
