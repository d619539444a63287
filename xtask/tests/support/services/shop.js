// A shop's back end as found in the wild, in Node: each request reserves an item and shows it.
//
// usage: node shop.js UPSTREAM_PORT FOLDER      (prints "listening on PORT")
// Settings, SIGUSR2 and the rest are as in shop.py.
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const [upstream, folder] = process.argv.slice(2);
const sessions = [];
const themes = [];
let report = [];
let settings = {};
let count = 0;
const kept = new http.Agent({ keepAlive: true });

function read() {
  settings = JSON.parse(fs.readFileSync(path.join(folder, 'settings.json')));
  kept.maxSockets = settings.pool || Infinity;
  if (!settings.theme_kept) themes.splice(0).forEach((file) => fs.closeSync(file));
}

function render(us) {
  const end = process.hrtime.bigint() + BigInt(us) * 1000n;
  let digest = 'page';
  while (process.hrtime.bigint() < end) digest = crypto.createHash('sha256').update(digest).digest();
}

function theme(keep) {
  const file = fs.openSync('/etc/hostname');
  fs.readSync(file, Buffer.alloc(100));
  if (keep) themes.push(file);
  else fs.closeSync(file);
}

function remember(kb) {
  sessions.push(Buffer.alloc(kb * 1024, 1));
}

// A batch that is built up and let go.
function batch(kb) {
  report.push(Buffer.alloc(kb * 1024, 1));
  if (report.length > 200) report = [];
}

// What it costs, from who knows, over connections that are kept, or over one for each question; another try or two
// where none is answered in time.
function ask(within, done, tries = settings.retries || 0) {
  const [host, port] = upstream.includes(':') ? upstream.split(':') : ['127.0.0.1', upstream];
  const { headers, ended } = call(within, host, Number(port));
  const agent = settings.fresh ? false : kept;
  const asked = http.get({ host, port, path: '/price/1', headers, agent, timeout: settings.timeout_ms || 10000 }, (answer) => {
    answer.resume();
    answer.on('end', () => {
      ended();
      done(200);
    });
  });
  asked.on('error', (error) => {
    ended(error);
    if (tries > 0) ask(within, done, tries - 1);
    else done(502);
  });
  asked.on('timeout', () => asked.destroy());
}

const untraced = { request: () => {}, call: () => ({ headers: {}, ended: () => {} }) };
const { request: traced, call } = process.env.OTEL_EXPORTER_OTLP_ENDPOINT ? require('./tracing.js') : untraced;

const server = http.createServer((request, response) => {
  const within = traced(request, response);
  count += 1;
  render(settings.work_us || 0);
  theme(settings.theme_kept);
  if (settings.session_kb) remember(settings.session_kb);
  if (settings.report_kb) batch(settings.report_kb);
  if (settings.pause_every && count % settings.pause_every === 0) render(settings.pause_ms * 1000);
  const text = 'x'.repeat(1024 * (settings.page_kb || 1));
  const done = (status) => {
    response.writeHead(status, { 'Content-Length': text.length });
    response.end(text);
  };
  const answer = (status) => (settings.answer_ms ? setTimeout(done, settings.answer_ms, status) : done(status));
  // So many prices of a hundred are in the cache.
  const isKnown = (count * 37) % 100 < (settings.cached || 0);
  if (settings.ask && !isKnown) ask(within, answer);
  else answer(200);
});
read();
process.on('SIGUSR2', read);
server.listen(0, settings.host || '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
