'use strict';
/*
 * Lets an unmodified Node server share the listening sockets of prefork.
 *
 * Node loads this file before the program (NODE_OPTIONS=--require, see __init__.py). It does nothing
 * in a process that has none of the sockets. In one that has them,
 *
 * - `listen` on the bound address takes connections from the socket that prefork opened;
 * - child processes get the sockets as well, until a server of this process listens: npm -> sh -> node;
 * - the master learns that the server listens (READY=1), and that it accepts no more (STOPPING=1);
 * - the stop signal drains the servers first, and reaches the handlers of the program afterwards.
 *
 * A server on a lone other port stands for the program, and gets the socket, too (class Listening).
 *
 * Design
 * ------
 * - Sockets are recognized by their inode. Wrappers move descriptors, and a process that got none of
 *   them uses the same numbers for other files: Node's own epoll is often descriptor 3.
 * - A server gets a handle of JavaScript in place of a socket, as in a worker of Node's own cluster
 *   (lib/internal/cluster/child.js). `listen({ fd })` would give the socket away for good: libuv
 *   closes it with the server, and a program that probes its port first (listen, close, listen) would
 *   find it closed. One server may also take connections from several sockets, and `close` of http
 *   cannot drop idle connections behind our back.
 * - A lone other port is that of the worker, not of one process: an admin server beside the API would be
 *   published. So the processes of a worker tell each other what they do with ports (class PortClaims), by
 *   lines that they append to a file in memory. O_APPEND puts them in one order, which all processes see. The
 *   file has no name that another user could take, and ends with the worker. Rejected: a unix socket, which
 *   answers only where an event loop runs, and a server that compiles its modules runs none.
 * - A process that may still listen on the bound port forbids it, too. That is every Node process but those
 *   that wait for nothing but pipes, files and their children, as npm, tsx and nodemon do; one that failed
 *   beside the server; and every other program of the worker (`node admin.js & sleep 5; node api.js`), but
 *   for shells above the server, its own children, and filters (`node server.js | tee log`). In doubt a server
 *   keeps its own port and says so: one that got the bound port by mistake would be open to all clients.
 * - Events of a server are observed in its `emit`. A listener of 'upgrade' or 'checkContinue' would
 *   change what Node does with such a request.
 * - libuv accepts until the queue is empty, so the worker that wakes first takes nearly all of a burst: 64
 *   connections that came at once went 39/19/4/2 over four workers. After each connection the process sleeps
 *   for 0.3 ms, within a budget of 5 % of the time: 19/15/15/15. Connections that come one after another
 *   stay in the kernel's order (31/27/5/1). The loads of the other workers would not help: libuv accepts
 *   in C before any script runs, its handle polls until it is closed, and Node cannot duplicate a
 *   descriptor to open the socket again. To hand a connection on takes a process in between, as in PM2.
 * - The bytes of bodies are not reported (X_PREFORK_SENT): a socket counts heads and frames of chunks,
 *   too, and to wrap `write` of each response would cost CPU in each request.
 * - One file, although it is long: it is loaded before each Node process of the program, also before npm
 *   and its scripts, and each further file would be opened and compiled there as well.
 * - Drain first, handlers of the program later: a handler that calls process.exit() would lose the
 *   requests in flight.
 * - A WebSocket gets its close frame on its connection, whatever library serves it. Libraries write a
 *   frame as one piece, and a control frame may stand between any two frames (RFC 6455 section 5.4).
 */

const SETTINGS = 'PREFORK_NODE_SETTINGS';
const OLDEST_NODE = 18;
const PORT_DECISION_MS = 1000;
/** Time that a program has to listen on the bound port before a server on another port gets it. */
const PORT_DECISION_LIMIT_MS = 3000;
/** The same while another process may still listen on the bound port. */
const OPEN_DELAY_MS = 500;
/** Time between 'listening' and the first accept on another port: a parent may have waited for a helper. */
const CLAIM_CHECK_MS = 100;
/** Time between two looks at the claims of the other processes. */
const WAITING = new Set(['ProcessWrap', 'PipeWrap', 'TTYWrap', 'FSEventWrap', 'StatWatcher', 'SignalWrap']);
/** Resources that a process without a server waits for (process.getActiveResourcesInfo). */
const HIDDEN = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM'];
/** Errors of a look at a process that has ended, or that this user may not see. */
const ADVICE = 'let the program read its port from PORT, or name it in --bind';
const IDLE_CHECK_MS = 50;
/** Time between two looks for idle connections of a process that drains. */
const PAUSE_MS = 0.3;
/** Time that a process sleeps after it accepted a connection. */
const PAUSE_BUDGET_MS = 20;
/** Time that it may sleep at once: the share of one worker in a burst of 260 connections for four. */
const PAUSE_SHARE = 0.05;
/** Share of the time that it may sleep in the long run. */
const FIGURES_INTERVAL_MS = 1000;
/** Time between two reports of figures. */
const HANDLER_SHARE = 0.2;
/** Share of the kill timeout that remains for the handlers of the program. */
const GONE = ['ECONNREFUSED', 'ENOTCONN', 'EPIPE'];
/** Errors of a write to a master that does not live any more. */
const SERVICE_RESTART = Buffer.from([0x88, 2, 1012 >> 8, 1012 & 255]);
/** A close frame with the code 1012, unmasked (RFC 6455 section 5.5.1). */

function say(text) {
  process.stderr.write(`prefork: ${text}\n`);
}

function start(settings) {
  const fs = require('node:fs');
  const cluster = require('node:cluster');
  const descriptors = findDescriptors(fs, settings);
  const pause = new AcceptPause();
  const sockets = settings.sockets
    .filter(({ inode }) => descriptors.has(inode))
    .map((socket) => new SharedSocket(socket, descriptors.get(socket.inode), settings.backlog, pause));
  if (!sockets.length && !cluster.isWorker) {
    if (!process.env.WATCH_REPORT_DEPENDENCIES) return;
    setPort(settings.sockets);
    watchBound(settings, () => refuseWatchMode(fs));
    return;
  }

  const master = new MasterChannel(fs, descriptors.get(settings.notify), settings.manual);
  const figures = new Figures(fs, descriptors.get(settings.figures));
  const connections = new Connections(figures);
  const drain = new Drain(settings, master, cluster, sockets, connections);
  const claims = new PortClaims(fs, descriptors.get(settings.claims), cluster);
  const children = new Children(settings.require, sockets, master, figures, claims);
  new Listening(sockets, drain, master, children, claims).install();
  claims.observe();
  children.install();
  drain.install();
  if (settings.manual) master.provideSend();
  setPort(sockets);
}

function setPort(sockets) {
  const { port } = sockets.find((socket) => socket.port) || {};
  if (port && !process.env.PORT) process.env.PORT = String(port);
}

/** Return the descriptors of this process that prefork handed on, by inode. */
function findDescriptors(fs, settings) {
  const { sockets, notify, figures, claims } = settings;
  const inodes = new Set([...sockets.map(({ inode }) => inode), notify, figures, claims]);
  const found = new Map();
  for (const name of fs.readdirSync('/proc/self/fd')) {
    const inode = inodeOf(fs, name);
    if (inodes.has(inode) && !found.has(inode)) found.set(inode, Number(name));
  }
  return found;
}

/** Return the inode of a socket, by the link in /proc (socket:[4711]), or of a file in memory; NaN: it is none. */
function inodeOf(fs, name) {
  try {
    const link = fs.readlinkSync(`/proc/self/fd/${name}`);
    if (link.startsWith('/memfd:prefork-node ')) return fs.fstatSync(Number(name)).ino;
    return Number(/^socket:\[(\d+)\]$/.exec(link)?.[1]);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return NaN; // the descriptor of the listing itself
  }
}

/** Call `act` when a server of this process or thread, which cannot share the sockets, listens on a bound port. */
function watchBound(settings, act) {
  const net = require('node:net');
  const { listen } = net.Server.prototype;
  net.Server.prototype.listen = function (...args) {
    const [{ port, path }] = net._normalizeArgs(args);
    const isBound = (socket) => (socket.port ? socket.port === Number(port) : path && isSamePath(socket.path, path));
    if (settings.sockets.some(isBound)) act();
    return listen.apply(this, args);
  };
}

/** End a program that node --watch started: Node closed the sockets, and would try again at each change only. */
function refuseWatchMode(fs) {
  const command = fs.readFileSync(`/proc/${process.ppid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  if (!/ --watch\b/.test(command)) return; // a child of the program
  say('node --watch starts the program without the shared sockets: leave it out, and give --watch to prefork');
  process.kill(process.ppid, 'SIGKILL'); // at SIGTERM it would report success
  process.exit(1);
}

/** Keep other ports from a bound port that a thread of this process asks for. It finds the port in use. */
function claimForThread(fs, settings) {
  new PortClaims(fs, findDescriptors(fs, settings).get(settings.claims)).write('serves');
}

/** Return what the kernel tells of a process; null: it has ended, or is hidden. */
function readProcess(fs, name) {
  let text;
  try {
    text = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
  } catch (error) {
    if (!HIDDEN.includes(error.code)) throw error;
    return null;
  }
  const [begin, end] = [text.indexOf('('), text.lastIndexOf(')')];
  const fields = text.slice(end + 2).split(' '); // from the third field of proc_pid_stat(5) on
  if ('ZX'.includes(fields[0])) return null;
  const [pid, parent, session] = [text.slice(0, begin), fields[1], fields[3]].map(Number);
  return { pid, name: text.slice(begin + 1, end), parent, session, id: `${pid}-${fields[19]}` };
}

/** Return when a process started, by its id. */
function startTicks(id) {
  return Number(id.split('-')[1]);
}

/** Return what the input of a process is, such as pipe:[4711]. */
function inputOf(fs, pid) {
  try {
    return fs.readlinkSync(`/proc/${pid}/fd/0`);
  } catch (error) {
    if (!HIDDEN.includes(error.code)) throw error;
    return '';
  }
}

/**
 * The ports of the Node processes of this worker: a file in memory to which each process appends a line
 * for each change, of which its last one counts.
 *
 *   starts           it may still listen on the bound port
 *   waits            it waits for its children, as npm does
 *   wants 3000       it holds a server on another port back
 *   has 3000         that server got the bound port
 *   keeps 3000,4000  its servers listen on ports of their own
 *   failed 4711      it ended in one of the first two states with an error, at this time in ticks of the kernel
 *   serves           it listens on the bound port: from now on no other port gets it in this worker
 *   says             it tells the operator of ports that were not mapped; the first line counts
 */
class PortClaims {
  constructor(fs, fd, cluster) {
    Object.assign(this, { fs, fd, cluster });
    const { pid, id } = readProcess(fs, 'self');
    Object.assign(this, { pid, id });
    this.state = '';
    this.size = 0;
    this.isServedSeen = false;
  }

  write(state, ports = []) {
    const text = [state, ...ports].join(' ');
    if (this.fd === undefined || text === this.state) return;
    this.state = text;
    this.fs.writeSync(this.fd, `${this.id} ${text}\n`);
  }

  /** Return the claims in their order. */
  read() {
    const buffer = Buffer.alloc(this.fs.fstatSync(this.fd).size);
    const length = this.fs.readSync(this.fd, buffer, 0, buffer.length, 0);
    const lines = buffer.toString('latin1', 0, length).split('\n').slice(0, -1);
    return lines.map((line) => line.split(' ')).map(([id, state, ...ports]) => ({ id, state, ports: ports.map(Number) }));
  }

  /** Return whether a process of this worker listens on the bound port, or did. A look costs some microseconds. */
  isServed() {
    if (this.isServedSeen || this.fd === undefined) return this.isServedSeen;
    const { size } = this.fs.fstatSync(this.fd);
    if (size !== this.size) this.isServedSeen = this.read().some(({ state }) => state === 'serves');
    this.size = size;
    return this.isServedSeen;
  }

  /** Report what this process waits for, until a process of the worker has the bound port. */
  observe() {
    if (this.fd === undefined || this.isServed()) return;
    this.write('starts');
    process.on('exit', (code) => code && this.isUndecided() && this.write('failed', [this.ticksNow()]));
    const timer = setInterval(() => {
      if (!this.isUndecided() || this.isServed() || this.read().some(({ state }) => state === 'has')) clearInterval(timer);
      else this.write(this.isWaiting() ? 'waits' : 'starts');
    }, CLAIM_CHECK_MS).unref();
  }

  /** Return whether this process can start no server by itself. The primary of a cluster does so for its workers. */
  isWaiting() {
    const hasWorkers = Object.keys(this.cluster.workers || {}).length > 0;
    return !hasWorkers && process.getActiveResourcesInfo().every((name) => WAITING.has(name));
  }

  /** Return the time as that of the start of a process in /proc: in hundredths of a second since the boot. */
  ticksNow() {
    return Math.round(startTicks(this.id) + process.uptime() * 100);
  }

  /** Call a function that blocks this process until a child has ended. */
  wait(call) {
    if (!this.isUndecided()) return call();
    this.write('waits');
    try {
      return call();
    } finally {
      this.write('starts');
    }
  }

  isUndecided() {
    return ['starts', 'waits'].includes(this.state);
  }

  /** Return whether this process is the first that tells the operator of its ports. */
  isFirstToSay() {
    if (this.fd === undefined) return true;
    this.fs.writeSync(this.fd, `${this.id} says\n`);
    return this.read().find(({ state }) => state === 'says').id === this.id;
  }

  /**
   * Return what the other processes of the worker are up to: the `ports` on which they listen or want
   * to, a `candidate` that may still listen on the bound one, and whether there are any (`hasOthers`).
   */
  look() {
    const unknown = 'a process that cannot be asked'; // a wrapper closed the descriptor of this file
    if (this.fd === undefined) return { ports: [], candidate: unknown, hasOthers: true };
    const processes = new Map();
    for (const name of this.fs.readdirSync('/proc')) {
      const found = /^\d+$/.test(name) && readProcess(this.fs, name);
      if (found) processes.set(Number(name), found);
    }
    const lines = this.read().filter(({ state }) => state !== 'says');
    const claims = new Map(lines.map((claim) => [claim.id, claim]));
    const others = [...processes.values()].filter(({ id }) => id !== this.id && claims.has(id));
    const isBeside = ([failedAt]) => failedAt > startTicks(this.id); // an earlier one was a step before this
    const failed = lines.find(({ state, ports }) => state === 'failed' && isBeside(ports));
    const starting = others.find(({ id }) => claims.get(id).state === 'starts');
    const neighbour = this.findNeighbour(processes, others);
    let candidate = failed && `the failed process ${failed.id.split('-')[0]}`;
    if (neighbour) candidate = `${neighbour.name} (pid ${neighbour.pid})`;
    if (starting) candidate = `node (pid ${starting.pid})`; // the kernel's name of it may be that of a thread
    return { ports: others.flatMap(({ id }) => claims.get(id).ports), candidate, hasOthers: others.length > 0 };
  }

  /** Return a program that runs beside this process in the worker, and may start a server next. */
  findNeighbour(processes, others) {
    const own = processes.get(this.pid);
    const ancestorsOf = (process) => {
      const found = [];
      for (let each = process; each && each.session === own.session; each = processes.get(each.parent)) found.push(each);
      return found;
    };
    // A shell above another Node process waits for it.
    const known = new Set([own, ...others].flatMap(ancestorsOf));
    return [...processes.values()].find((each) => {
      if (each.session !== own.session || known.has(each) || ancestorsOf(each).includes(own)) return false;
      const input = inputOf(this.fs, each.pid);
      const isFilter = /^(pipe|socket):/.test(input) && input !== inputOf(this.fs, each.parent); // Node's pipes are sockets
      return !isFilter;
    });
  }
}

/** The way to the master: datagrams on an inherited descriptor (sd_notify(3)). */
class MasterChannel {
  constructor(fs, fd, isManual) {
    this.fs = fs;
    this.fd = fd;
    this.isManual = isManual;
    this.listens = false;
  }

  send(text) {
    if (this.fd === undefined) return;
    try {
      this.fs.writeSync(this.fd, text);
    } catch (error) {
      // The master is gone, and its guard ends this program.
      if (!GONE.includes(error.code)) throw error;
    }
  }

  /** Report that a server accepts; `mapped` is a port that the program asked for instead. */
  reportListening(mapped) {
    if (this.listens && !mapped) return;
    this.listens = true;
    const lines = [`X_PREFORK_NODE=${process.versions.node}`];
    if (mapped) lines.push(`X_PREFORK_NODE_PORT=${mapped}`);
    if (!this.isManual) lines.push('READY=1');
    this.send(lines.join('\n'));
  }

  /** With --ready manual the program calls process.send('ready'), as under PM2 with wait_ready. */
  provideSend() {
    const send = process.send;
    process.send = (message, ...rest) => {
      if (message === 'ready') this.send('READY=1');
      if (send) return send.call(process, message, ...rest);
      const callback = rest.find((each) => typeof each === 'function');
      if (callback) process.nextTick(callback, null);
      return true;
    };
  }
}

/** Gives other workers the time to accept, too, when many connections come at once. */
class AcceptPause {
  constructor() {
    this.cell = new Int32Array(new SharedArrayBuffer(4));
    this.budget = PAUSE_BUDGET_MS;
    this.toppedUpAt = performance.now();
  }

  afterAccept() {
    const now = performance.now();
    this.budget = Math.min(this.budget + (now - this.toppedUpAt) * PAUSE_SHARE, PAUSE_BUDGET_MS);
    this.toppedUpAt = now;
    if (this.budget < PAUSE_MS) return;
    this.budget -= PAUSE_MS;
    Atomics.wait(this.cell, 0, 0, PAUSE_MS);
  }
}

/** One listening socket of prefork. `server`: the handle of the server that takes its connections. */
class SharedSocket {
  constructor({ port, host, path }, fd, backlog, pause) {
    Object.assign(this, { port, host, path, fd, backlog, pause });
    this.server = null;
    this.handle = null;
    this.isOpen = false;
    this.isClosed = false;
  }

  get name() {
    return this.path || `port ${this.port}`;
  }

  /** Create the handle of the socket, which does not accept yet. Returns an error number, or 0. */
  createHandle() {
    if (this.handle) return 0;
    const handle = require('node:net')._createServerHandle(null, null, null, this.fd);
    if (typeof handle === 'number') return handle;
    this.handle = handle;
    handle.onconnection = (error, client) => {
      if (this.server.mayAccept()) this.server.onconnection(error, client);
      else if (client) client.close();
      this.pause.afterAccept();
    };
    return 0;
  }

  /** Accept connections from now on. Returns an error number, or 0. */
  open() {
    this.isOpen = true;
    return this.handle.listen(this.backlog);
  }

  attach(server) {
    this.server = server;
    this.handle.ref();
  }

  /** Leave the server. A socket that accepted is closed: its connections belong to other workers. */
  detach() {
    this.server = null;
    this.handle.unref();
    if (this.isOpen) this.close();
  }

  /** Close the socket in this process for good. */
  close() {
    if (!this.isClosed && this.handle) this.handle.close();
    this.isClosed = true;
  }
}

/** The handle of a net.Server in place of a socket: its connections come from any number of sockets. */
class ServerHandle {
  constructor(sockets, places, host) {
    Object.assign(this, { sockets, host });
    this.whenMayOpen = setImmediate;
    this.onopen = () => {};
    this.mayAccept = () => true;
    const [first] = places;
    if (first && first.handle && first.handle.getsockname) this.getsockname = (out) => first.handle.getsockname(out);
    // A server without a socket of its own keeps the process alive all the same.
    this.alive = sockets.length ? null : setInterval(() => {}, 2 ** 30);
  }

  get fd() {
    return this.sockets.length ? this.sockets[0].fd : -1;
  }

  listen() {
    for (const socket of this.sockets) socket.attach(this);
    // After 'listening': a program that only probes its port closes the server at this event.
    this.whenMayOpen(() => {
      const open = this.sockets.filter((socket) => socket.server === this);
      for (const socket of open) {
        const error = socket.open();
        if (error) throw new Error(`prefork: cannot accept connections on ${socket.name}: error ${error}`);
      }
      if (open.length) this.onopen();
    });
    return 0;
  }

  /** Leave the sockets to the next server of this process. */
  release() {
    for (const socket of this.sockets) if (socket.server === this) socket.server = null;
    clearInterval(this.alive);
  }

  close(callback) {
    for (const socket of this.sockets) if (socket.server === this) socket.detach();
    clearInterval(this.alive);
    if (callback) process.nextTick(callback);
  }

  ref() {
    for (const { handle } of this.sockets) handle.ref();
    if (this.alive) this.alive.ref();
  }

  unref() {
    for (const { handle } of this.sockets) handle.unref();
    if (this.alive) this.alive.unref();
  }
}

/**
 * Replaces `listen` of all servers.
 *
 * A server on another port is held back. It gets the bound port if it is the only one of the worker, and
 * listens on its own otherwise, also later, when a server on the bound port comes after all.
 */
class Listening {
  constructor(sockets, drain, master, children, claims) {
    Object.assign(this, { sockets, drain, master, children, claims });
    this.net = require('node:net');
    this.held = [];
    this.heldAt = 0;
    this.mapped = [];
    this.kept = new Set();
    this.hasBoundPort = false;
    this.isOtherPortSaid = false;
  }

  install() {
    const listening = this;
    const listen = this.net.Server.prototype.listen;
    this.net.Server.prototype.listen = function (...args) {
      return listening.listen(this, args, (...changed) => listen.apply(this, changed.length ? changed : args));
    };
    // With SCHED_NONE the primary of Node's own cluster opens the socket, and its workers accept.
    const create = this.net._createServerHandle;
    this.net._createServerHandle = (host, port, type, fd, flags) => {
      const [socket] = fd >= 0 || !port ? [] : this.findBound({ host, port, path: port === -1 ? host : undefined });
      if (!socket) return create(host, port, type, fd, flags);
      this.claim();
      setImmediate(() => this.master.reportListening());
      this.drain.catchSignal();
      return create(null, null, null, socket.fd);
    };
  }

  listen(server, args, listenItself) {
    const [options, callback] = this.net._normalizeArgs(args);
    if (server._handle || options._handle || options.handle) return listenItself();
    if (!this.sockets.length) {
      this.drain.add(server); // a worker of Node's own cluster, which asks its primary
      const { backlog } = this.drain.settings;
      return options.port || options.path ? listenItself({ ...options, backlog }, callback) : listenItself();
    }
    const sockets = this.findBound(options);
    if (sockets.length) {
      this.claim();
      return this.serve(server, options, callback, sockets);
    }
    if (!this.isOtherPort(options)) return listenItself();
    this.hold({ server, options, callback, listenItself, port: Number(options.port) });
    return server;
  }

  /** Return the sockets that these options mean. The host may be spelled in any way. */
  findBound({ fd, path, port, host }) {
    if (fd >= 0) return this.sockets.filter((socket) => socket.fd === fd);
    if (typeof path === 'string') return this.sockets.filter((socket) => socket.path && isSamePath(socket.path, path));
    const found = this.sockets.filter((socket) => socket.port && socket.port === Number(port));
    const exact = found.filter((socket) => socket.host === host);
    return exact.length ? exact : found;
  }

  /** Return whether these options name a port that is not bound: only one server may stand for it. */
  isOtherPort({ fd, path, port }) {
    const places = new Set(this.sockets.map(({ name }) => name));
    const isPort = fd === undefined && typeof path !== 'string' && Number(port) > 0;
    return isPort && !this.isServed() && places.size === 1 && !this.drain.began;
  }

  /** Return whether the worker has a server on the bound port. */
  isServed() {
    return this.hasBoundPort || this.claims.isServed();
  }

  /** Take the bound port for this process. The servers on other ports leave it. */
  claim() {
    this.hasBoundPort = true;
    this.claims.write('serves');
    this.release();
  }

  serve(server, options, callback, bound, adapt = () => {}) {
    const sockets = this.drain.began ? [] : bound.filter((socket) => !socket.server && !socket.isClosed);
    const failed = this.drain.began ? '' : this.describeConflict(options, bound, sockets);
    if (failed) {
      const error = Object.assign(new Error(`listen EADDRINUSE: ${failed}`), { code: 'EADDRINUSE', syscall: 'listen' });
      process.nextTick(() => server.emit('error', Object.assign(error, { errno: -98, port: bound[0].port })));
      return server;
    }
    const failure = sockets.map((socket) => socket.createHandle()).find(Boolean);
    if (failure) throw new Error(`prefork: cannot use descriptor ${sockets[0].fd}: error ${failure}`);
    if (callback) server.once('listening', callback);
    if (options.signal) options.signal.addEventListener('abort', () => server.close());
    const handle = new ServerHandle(sockets, bound, options.host);
    handle.onopen = () => this.master.reportListening();
    adapt(handle);
    if (sockets.length) this.drain.add(server);
    if (bound[0].path) server._pipeName = bound[0].path;
    server._handle = handle;
    server._listen2(null, bound[0].port || -1, bound[0].port ? 4 : -1);
    return server;
  }

  /** Return why no server can listen there, as Node words it; empty: it can. */
  describeConflict({ host }, bound, free) {
    if (bound.every((socket) => socket.isClosed)) return `${bound[0].name} was closed by this program before`;
    // A second server may have another address of the host, as Fastify's has: it gets no connections.
    const isSame = ({ server }) => server && (isAnyHost(host) || isAnyHost(server.host) || server.host === host);
    if (free.length || !bound.some(isSame)) return '';
    return `address already in use ${bound[0].path || `${host || '::'}:${bound[0].port}`}`;
  }

  /** Keep a server on another port back until it is clear which server the bound one is for. */
  hold(request) {
    if (!this.held.length) {
      this.heldAt = performance.now();
      this.decideLater();
    }
    this.held.push(request);
    this.claims.write('wants', this.ownPorts());
  }

  ownPorts() {
    return [...new Set([...this.kept, ...[...this.held, ...this.mapped].map(({ port }) => port)])];
  }

  decide() {
    if (!this.held.length) return;
    const waited = performance.now() - this.heldAt;
    if (waited < PORT_DECISION_MS && !this.isServed() && !this.drain.began) this.decideLater();
    else this.whenAlone(() => this.map(this.held.splice(0)), () => this.decideLater());
  }

  decideLater() {
    setTimeout(() => this.decide(), CLAIM_CHECK_MS);
  }

  /** Call `act` if the servers on another port are alone, or `retry` if that is not clear yet; release them else. */
  whenAlone(act, retry) {
    if (this.isServed() || this.drain.began) return void this.release();
    const obstacle = this.findObstacle();
    if (!obstacle) return void act();
    if (!obstacle.isFinal && performance.now() - this.heldAt < PORT_DECISION_LIMIT_MS) return void retry();
    this.release();
    if (!this.isOtherPortSaid && this.claims.isFirstToSay()) say(`${obstacle.text}; ${ADVICE}`);
    this.isOtherPortSaid = true;
  }

  /** Return why the servers on another port may not have the bound one; null: they may. */
  findObstacle() {
    const { name } = this.sockets[0];
    const own = this.ownPorts();
    const { ports, candidate } = this.claims.look();
    const all = new Set([...own, ...ports]);
    if (all.size > 1) {
      const text = `the program listens on ports ${[...all].join(' and ')}, but not on ${name}`;
      return { text, isFinal: true };
    }
    const other = candidate || (this.children.hasWrapped ? 'a child process' : '');
    return other ? { text: `the program listens on port ${own[0]}, but not on ${name}, which ${other} may take` } : null;
  }

  /** Let servers on another port have the bound one, until a server listens there. */
  map(requests) {
    const delay = this.claims.look().hasOthers ? OPEN_DELAY_MS : 0;
    for (const request of requests) {
      this.mapped.push(request);
      this.serve(request.server, request.options, request.callback, this.sockets, (handle) => {
        request.handle = handle;
        const isWaiting = () => this.mapped.includes(request);
        const attempt = (open) => isWaiting() && this.whenAlone(open, () => setTimeout(attempt, CLAIM_CHECK_MS, open));
        handle.whenMayOpen = (open) => setTimeout(attempt, delay, open);
        handle.mayAccept = () => !this.leaveIfServed();
        handle.onopen = () => this.onMappedOpen(request.port);
      });
    }
  }

  /** Let the servers on other ports leave the bound port if another process has it; return whether it does. */
  leaveIfServed() {
    const isServed = this.isServed();
    if (isServed) this.release();
    return isServed;
  }

  onMappedOpen(port) {
    this.claims.write('has', [port]);
    this.master.reportListening(port);
    this.sayOnce(`the program listens on port ${port} and gets ${this.sockets[0].name} instead; ${ADVICE}`);
    const timer = setInterval(() => {
      if (this.leaveIfServed() || !this.mapped.length) clearInterval(timer);
    }, IDLE_CHECK_MS).unref();
  }

  /** Write a message in one worker only; the others would repeat it. */
  sayOnce(text) {
    if (process.env.PREFORK_SLOT === '0' && process.env.PREFORK_GENERATION === '1') say(text);
  }

  /** Let the servers on other ports listen there. The connections that they got are closed. */
  release() {
    for (const port of this.ownPorts()) this.kept.add(port);
    if (this.kept.size && !this.hasBoundPort) this.claims.write('keeps', [...this.kept]);
    for (const request of this.held.splice(0)) request.listenItself();
    for (const { server, handle, listenItself, callback } of this.mapped.splice(0)) {
      if (server._handle !== handle) continue; // the program closed it
      this.drain.connections.destroy(server);
      server._handle = null;
      if (this.hasBoundPort) handle.release();
      else handle.close();
      if (callback) server.removeListener('listening', callback);
      listenItself();
    }
  }
}

function isAnyHost(host) {
  return !host || host === '::' || host === '0.0.0.0';
}

function isSamePath(bound, path) {
  if (bound[0] === '\0' || path[0] === '\0') return bound === path;
  return require('node:path').resolve(path) === bound;
}

/** Hands the sockets on to child processes. Node closes what it inherited when it starts a child. */
class Children {
  constructor(option, sockets, master, figures, claims) {
    Object.assign(this, { option, sockets, master, figures, claims });
    this.wrapped = 0;
  }

  /** Return whether a child that writes to our stdout has the sockets: it is the server then. */
  get hasWrapped() {
    return this.wrapped > 0;
  }

  install() {
    const children = this;
    const childProcess = require('node:child_process');
    const { spawn } = childProcess.ChildProcess.prototype;
    childProcess.ChildProcess.prototype.spawn = function (options) {
      const extended = children.extend(options, options.envPairs || []);
      const result = spawn.call(this, extended);
      if (extended !== options && isInherited(extended.stdio[1]) && this.pid) {
        children.wrapped += 1;
        this.once('exit', () => (children.wrapped -= 1));
      }
      return result;
    };
    const { spawnSync } = childProcess;
    childProcess.spawnSync = function (file, args, options) {
      if (!Array.isArray(args) && options === undefined) [args, options] = [[], args];
      const environ = Object.entries((options && options.env) || process.env).map((pair) => pair.join('='));
      const extended = children.extend({ ...options }, environ);
      return children.claims.wait(() => spawnSync.call(this, file, args, extended));
    };
    require('node:module').syncBuiltinESMExports();
  }

  /** Return the options of a child with our descriptors behind its own. */
  extend(options, environ) {
    const isClusterWorker = environ.some((pair) => pair.startsWith('NODE_UNIQUE_ID='));
    const sockets = this.sockets.filter((socket) => !isClusterWorker && !socket.isClosed);
    if (!environ.some((pair) => pair.startsWith(`${SETTINGS}=`))) return options;
    if (!isClusterWorker && (!sockets.length || sockets.some((socket) => socket.server))) return options;
    const { stdio } = options;
    const own = Array.isArray(stdio) ? [...stdio] : Array(3).fill(stdio || 'pipe');
    if (options.detached && !isInherited(own[1])) return options; // a daemon outlives the program
    while (own.length < 3) own.push(undefined);
    const ways = { NOTIFY_FD: this.master.fd, PREFORK_FIGURES_FD: this.figures.fd };
    const named = Object.entries(ways).filter(([, fd]) => fd !== undefined);
    const handedOn = [...own, ...sockets.map(({ fd }) => fd)];
    if (sockets.length && this.claims.fd !== undefined) handedOn.push(this.claims.fd);
    const numbers = new Map(named.map(([name, fd]) => [name, handedOn.push(fd) - 1]));
    return { ...options, stdio: handedOn, envPairs: this.adaptVariables(options.envPairs, numbers) };
  }

  /** Put the new numbers in, and our option where a wrapper set NODE_OPTIONS anew (cross-env NODE_OPTIONS=…). */
  adaptVariables(environ, numbers) {
    if (!environ) return environ;
    return environ.map((pair) => {
      const name = pair.slice(0, pair.indexOf('='));
      if (numbers.has(name)) return `${name}=${numbers.get(name)}`;
      return name === 'NODE_OPTIONS' && !pair.includes(this.option) ? `${pair} ${this.option}` : pair;
    });
  }
}

function isInherited(stream) {
  return stream === 'inherit' || stream === 1 || stream === process.stdout;
}

/** The figures of this process since it began; the message is described in wire/figures_message.py. */
class Figures {
  constructor(fs, fd) {
    Object.assign(this, { fs, fd });
    this.counts = { REQUESTS: 0, ACCEPTED: 0, UNANSWERED: 0 };
    for (let kind = 1; kind <= 5; kind += 1) this.counts[`ANSWERED_${kind}XX`] = 0;
    this.took = 0;
    this.times = new Map();
    this.last = '';
    this.seconds = new Float64Array(1);
    this.words = new Uint16Array(this.seconds.buffer);
  }

  /** Report once a second from now on, while anything changes. */
  begin(connections) {
    if (this.fd === undefined || this.timer) return;
    this.timer = setInterval(() => this.report(connections), FIGURES_INTERVAL_MS).unref();
    process.on('exit', () => this.report(connections));
    this.report(connections);
  }

  /** Count an answered request. `seconds`: its duration; undefined: it switched protocols. */
  count(status, hasBegun, seconds) {
    this.counts.REQUESTS += 1;
    this.counts[hasBegun ? `ANSWERED_${Math.floor(status / 100)}XX` : 'UNANSWERED'] += 1;
    if (seconds === undefined) return;
    this.took += seconds;
    const bucket = this.bucketOf(seconds);
    this.times.set(bucket, (this.times.get(bucket) || 0) + 1);
  }

  /** Eight buckets per octave from 2 ** -17 s on: the exponent and three bits of the mantissa. */
  bucketOf(seconds) {
    this.seconds[0] = seconds;
    return Math.min(Math.max((this.words[3] >> 1) - (1023 - 17) * 8, 0), 199);
  }

  report({ responses, records }) {
    const [oldest] = responses.values();
    const values = {
      ...this.counts,
      IN_FLIGHT: responses.size,
      CONNECTIONS: records.size,
      TOOK: this.took.toFixed(6),
      OLDEST: oldest === undefined ? 0 : ((performance.now() - oldest) / 1000).toFixed(6),
      TIMES: [...this.times].map((pair) => pair.join(':')).join(),
    };
    const lines = Object.entries(values).map(([name, value]) => `X_PREFORK_${name}=${value}`);
    const text = lines.join('\n');
    if (text === this.last) return;
    try {
      this.fs.writeSync(this.fd, text);
      this.last = text;
    } catch (error) {
      if (error.code === 'EAGAIN') return; // the master is busy, and the next report has the same counts
      if (!GONE.includes(error.code)) throw error;
      clearInterval(this.timer);
    }
  }
}

/** The connections of the servers that share sockets, and the responses that are under way. */
class Connections {
  constructor(figures) {
    this.figures = figures;
    this.records = new Map();
    this.responses = new Map(); // each with the time of its request
    this.newest = null;
    this.isLeaving = false;
    this.onclose = () => {};
  }

  /** Observe all events of a server. */
  observe(server) {
    const connections = this;
    const { emit } = server;
    if (speaksHttp(server)) server.on('listening', () => this.figures.begin(this));
    server.emit = function (name, ...args) {
      connections.on(server, name, args);
      return emit.call(this, name, ...args);
    };
  }

  on(server, name, [first, second]) {
    switch (name) {
      case 'connection':
        this.open(server, first);
        break;
      case 'secureConnection':
        this.records.delete(first._parent);
        this.open(server, first);
        break;
      case 'session': // within the event of its connection
        this.newest.session = first;
        if (this.isLeaving) first.close();
        break;
      case 'request':
      case 'checkContinue':
      case 'checkExpectation':
        this.begin(first, second);
        break;
      case 'upgrade':
      case 'connect':
        this.upgrade(first, second);
        break;
    }
  }

  open(server, socket) {
    const record = { socket, server, requests: 0, bytes: 0, head: 0 };
    Object.assign(record, { session: null, protocol: '', isToldToLeave: false });
    this.records.set(socket, record);
    this.newest = record;
    if (!socket._parent) this.figures.counts.ACCEPTED += 1;
    socket.once('close', () => {
      this.records.delete(socket);
      this.onclose();
    });
  }

  begin(request, response) {
    const record = this.records.get(request.socket); // none: a stream of HTTP/2
    if (record) record.requests += 1;
    if (this.isLeaving) response.shouldKeepAlive = false;
    const began = performance.now();
    this.responses.set(response, began);
    response.once('close', () => {
      this.responses.delete(response);
      this.figures.count(response.statusCode, response.headersSent, (performance.now() - began) / 1000);
      if (!record) return;
      record.requests -= 1;
      record.bytes = record.socket.bytesRead;
    });
  }

  upgrade(request, socket) {
    const record = this.records.get(socket);
    this.figures.count(101, true);
    if (!record) return;
    record.protocol = String(request.headers.upgrade || request.method).toLowerCase();
    record.head = socket.bytesWritten;
  }

  /** Let each connection end after the response that it waits for. */
  leave() {
    this.isLeaving = true;
    for (const response of this.responses.keys()) if (!response.headersSent) response.shouldKeepAlive = false;
    for (const { session } of this.records.values()) if (session) session.close();
    this.closeWebSockets();
  }

  /** Close the connections of a server at once. */
  destroy(server) {
    for (const record of this.records.values()) if (record.server === server) record.socket.destroy();
  }

  closeWebSockets() {
    for (const record of this.records.values()) {
      const { socket, head } = record;
      // Not before the library answered the handshake.
      if (record.protocol !== 'websocket' || record.isToldToLeave || socket.bytesWritten === head) continue;
      record.isToldToLeave = true;
      if (socket.writable) socket.write(SERVICE_RESTART);
    }
  }

  destroyWebSockets() {
    for (const { socket, isToldToLeave } of this.records.values()) if (isToldToLeave) socket.destroy();
  }

  /** Close the connections on which no request is under way or has begun to arrive. */
  closeIdle() {
    for (const { socket, server, requests, bytes, session, protocol } of this.records.values()) {
      if (speaksHttp(server) && !requests && !session && !protocol && socket.bytesRead === bytes) socket.destroySoon();
    }
  }

  /** End the responses of unknown length, such as streams of events. */
  endStreams() {
    for (const response of this.responses.keys()) {
      const isEndless = response.chunkedEncoding || (response.stream && !response.hasHeader('content-length'));
      if (isEndless && response.headersSent && !response.writableEnded) response.destroy();
    }
  }

  /** Return whether all connections have ended; `onlyHttp`: those of other protocols do not count. */
  isEmpty(onlyHttp) {
    for (const { server } of this.records.values()) if (!onlyHttp || speaksHttp(server)) return false;
    return true;
  }
}

/** Return whether it is a server of http, https or http2. */
function speaksHttp(server) {
  return server.requestTimeout !== undefined || server.updateSettings !== undefined;
}

/** The stop of the program, at its signal. */
class Drain {
  constructor(settings, master, cluster, sockets, connections) {
    Object.assign(this, { settings, master, cluster, sockets, connections });
    this.servers = new Set();
    this.isCatching = false;
    this.began = false;
    this.isHandedOver = false;
    this.workers = 0;
    this.keep = () => {};
  }

  /** Drain this server at the stop signal. */
  add(server) {
    this.catchSignal();
    if (this.servers.has(server)) return;
    this.servers.add(server);
    this.connections.observe(server);
  }

  /** Take the stop signal before the program, from its first server on. */
  install() {
    const drain = this;
    const { emit } = process;
    // Node binds `process.emit` to a signal when it gets its first listener, so this comes first.
    process.emit = function (name, ...args) {
      const isOurs = name === drain.settings.stopSignal && drain.isCatching && !drain.isHandedOver;
      if (!isOurs) return emit.call(this, name, ...args);
      if (!drain.began) drain.begin();
      return true;
    };
  }

  /** Keep a listener for the stop signal, without which Node would not catch it. */
  catchSignal() {
    const { stopSignal } = this.settings;
    if (this.isCatching) return;
    this.isCatching = true;
    process.on(stopSignal, this.keep);
    process.on('removeListener', (name, listener) => {
      if (listener === this.keep && !this.isHandedOver) process.on(stopSignal, this.keep);
    });
  }

  begin() {
    this.began = true;
    for (const socket of this.sockets) socket.close();
    this.master.send('STOPPING=1');
    for (const server of this.servers) this.closeServer(server);
    this.connections.leave();
    this.stopClusterWorkers();
    this.connections.onclose = () => this.check();
    const { linger, streamTimeout, wsCloseTimeout, killTimeout } = this.settings;
    this.repeatAfter(linger, () => this.connections.closeIdle());
    this.repeatAfter(streamTimeout, () => this.connections.endStreams());
    this.repeatAfter(0, () => this.connections.closeWebSockets());
    this.repeatAfter(wsCloseTimeout, () => this.connections.destroyWebSockets());
    setTimeout(() => this.handOver(), killTimeout * (1 - HANDLER_SHARE) * 1000).unref();
    this.check();
  }

  /** Close a server as net does. That of http closes idle connections at once (Node 19 and newer). */
  closeServer(server) {
    let isClosed = false;
    server.once('close', () => (isClosed = true));
    require('node:net').Server.prototype.close.call(server);
    server.close = function (callback) {
      if (callback && isClosed) process.nextTick(callback);
      else if (callback) this.once('close', () => callback());
      return this;
    };
  }

  /** The workers of Node's own cluster get their connections from this process. */
  stopClusterWorkers() {
    for (const worker of Object.values(this.cluster.workers || {})) {
      this.workers += 1;
      worker.process.once('exit', () => {
        this.workers -= 1;
        this.check();
      });
      worker.process.kill(this.settings.stopSignal);
    }
  }

  repeatAfter(seconds, act) {
    const repeat = () => {
      act();
      setTimeout(repeat, IDLE_CHECK_MS).unref();
    };
    setTimeout(repeat, seconds * 1000).unref();
  }

  get handledSignal() {
    const handles = (name) => process.listenerCount(name) > (name === this.settings.stopSignal ? 1 : 0);
    return [this.settings.stopSignal, 'SIGINT', 'SIGTERM'].find(handles);
  }

  check() {
    // Only the handler of the program knows when a connection of another protocol has had its time.
    const onlyHttp = this.handledSignal !== undefined;
    if (!this.workers && this.connections.isEmpty(onlyHttp)) setImmediate(() => this.handOver());
  }

  /** Call the handlers of the program, which may be those for SIGINT, as PM2 sends that. */
  handOver() {
    if (this.isHandedOver) return;
    const name = this.handledSignal;
    this.isHandedOver = true;
    process.removeListener(this.settings.stopSignal, this.keep);
    if (!name) process.exit(0);
    const { kill } = process;
    // A handler that ends by sending the signal again has done its work.
    process.kill = (pid, signal) => {
      if (pid === process.pid && signal === name) process.exit(0);
      return kill.call(process, pid, signal);
    };
    process.emit(name, name, require('node:os').constants.signals[name]);
  }
}

const { isMainThread } = require('node:worker_threads');

if (process.env[SETTINGS]) {
  const settings = JSON.parse(process.env[SETTINGS]);
  const isOld = parseInt(process.versions.node, 10) < OLDEST_NODE;
  if (!isMainThread) watchBound(settings, () => claimForThread(require('node:fs'), settings));
  else if (!isOld) start(settings);
  else say(`Node ${process.versions.node} cannot share sockets, Node ${OLDEST_NODE} or newer can`);
}
