// The app that prefork and PM2 run: it answers its pid.
// When it accepts connections it writes the pid to the file $BENCH_READY_FILE.
const fs = require('node:fs');
const http = require('node:http');

const server = http.createServer((request, response) => response.end(`${process.pid}`));
const inherited = process.env.NOTIFY_FD !== undefined;
const address = inherited ? { fd: 3 } : { host: '127.0.0.1', port: Number(process.env.PORT) };

server.listen(address, () => {
  fs.appendFileSync(process.env.BENCH_READY_FILE, `${process.pid}\n`);
  if (inherited) fs.writeSync(Number(process.env.NOTIFY_FD), 'READY=1');
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
