// A small service as found in the wild, on Node's own HTTP server, with its faults switched by the path.
//
// usage: node service.js UPSTREAM_PORT FOLDER      (prints "listening on PORT")
// The paths are those of service.py; with OTEL_EXPORTER_OTLP_ENDPOINT it exports spans.
'use strict';
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

const [upstream, folder] = process.argv.slice(2);
const forgotten = [];
const kept = new http.Agent({ keepAlive: true });
const single = new http.Agent({ keepAlive: false });
const cached = new Map();
let made = 0;

function file(leak, done) {
  const settings = fs.openSync('/etc/hostname');
  const text = Buffer.alloc(100);
  fs.readSync(settings, text);
  if (leak) forgotten.push(settings);
  else fs.closeSync(settings);
  done('file');
}

function temp(leak, done) {
  const name = path.join(os.tmpdir(), `service-${process.pid}-${++made}`);
  const scratch = fs.openSync(name, 'wx+');
  fs.writeSync(scratch, 'x'.repeat(1000));
  fs.unlinkSync(name);
  if (leak) forgotten.push(scratch);
  else fs.closeSync(scratch);
  done('temp');
}

// A child that waits for the end of its input.
function pipe(leak, done) {
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdout.resume();
  if (leak) {
    forgotten.push(child);
    child.on('spawn', () => done('pipe'));
  } else {
    child.stdin.end();
    child.on('close', () => done('pipe'));
  }
}

function body(leak, done) {
  http.get({ port: upstream, host: '127.0.0.1', path: '/big', agent: single }, (answer) => {
    if (leak) {
      forgotten.push(answer);
      done('body');
    } else {
      answer.resume();
      answer.on('end', () => done('body'));
    }
  });
}

function pool(done) {
  http.get({ port: upstream, host: '127.0.0.1', path: '/big', agent: kept }, (answer) => {
    answer.resume();
    answer.on('end', () => done('pool'));
  });
}

function cache(name, done) {
  if (!cached.has(name)) {
    cached.set(name, fs.openSync(path.join(folder, name)));
    if (cached.size > 40) {
      const [oldest, fd] = cached.entries().next().value;
      cached.delete(oldest);
      fs.closeSync(fd);
    }
  }
  const text = Buffer.alloc(100);
  fs.readSync(cached.get(name), text, 0, 100, 0);
  done('cache');
}

function keep(name, done) {
  forgotten.push(fs.openSync(path.join(folder, name)));
  done('keep');
}

const work = { file, temp, pipe, body };
const traced = process.env.OTEL_EXPORTER_OTLP_ENDPOINT ? require('./tracing.js').request : () => {};

const server = http.createServer((request, response) => {
  traced(request, response);
  const [, kind, what] = request.url.split('/');
  const done = (text) => response.end(text);
  if (kind === 'fine' || kind === 'leak') work[what](kind === 'leak', done);
  else if (kind === 'pool') pool(done);
  else if (kind === 'cache') cache(what, done);
  else if (kind === 'keep') keep(what, done);
  else done(kind === 'big' ? 'x'.repeat(400000) : 'ok');
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
