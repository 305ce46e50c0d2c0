/* The federation as it is now, kept by server-sent events.
 *
 * At each (re)connection the whole is fetched, and then changed by events above its seq. What has
 * come meanwhile waits. Listeners are told kind and data: the kinds of the stream (live, client,
 * combiner, round_client, status, session, round, model, validation, metric), "whole" when all may
 * be different, "connection".
 */
import { API, get } from './api.js';

const RETRY_MS = [1000, 2000, 5000, 10000];
const HIDDEN_MS = 5000;
const WHOLE_MS = 10000; // events wait meanwhile
const ROWS = ['status', 'session', 'round', 'model', 'validation', 'metric'];

export const live = {
  doc: null, // without its arrays
  clients: new Map(),
  combiners: new Map(),
  asked: new Map(), // clients of the open round
  isConnected: false,
  receivedAt: 0, // performance.now() of doc: its times count from there
};

const listeners = new Set();
let source = null;
let waiting = null; // events that wait for the whole; null: none is being fetched
let failures = 0;
let retrying = 0; // timers
let hiding = 0;

/* Hear of changes until `signal` aborts. */
export function listen(listener, signal) {
  listeners.add(listener);
  signal?.addEventListener('abort', () => listeners.delete(listener));
}

/* A page's fault is the page's: the others hear, and the stream goes on. */
function tell(kind, data) {
  for (const listener of listeners) {
    try {
      listener(kind, data);
    } catch (error) {
      reportError(error);
    }
  }
}

function setConnected(isConnected) {
  if (live.isConnected !== isConnected) {
    live.isConnected = isConnected;
    tell('connection', isConnected);
  }
}

let askedRound = null; // whose clients live.asked are

function beginRound(roundId) {
  if (roundId === askedRound) return; // its clients may come before its summary
  live.asked = new Map();
  askedRound = roundId;
}

function takeDoc({ clients, combiners, ...doc }) {
  beginRound(doc.round?.round_id ?? null);
  if (doc.round?.clients) live.asked = new Map(doc.round.clients.map((c) => [c.client_id, c]));
  if (clients) live.clients = new Map(clients.map((c) => [c.client_id, c]));
  if (combiners) live.combiners = new Map(combiners.map((c) => [c.combiner_id, c]));
  live.doc = doc;
  live.receivedAt = performance.now();
}

function takeElement(map, key, data) {
  if (data.gone) map.delete(data[key]);
  else map.set(data[key], data);
}

function apply(kind, data) {
  if (kind === 'live') takeDoc(data);
  else if (kind === 'client') takeElement(live.clients, 'client_id', data);
  else if (kind === 'combiner') takeElement(live.combiners, 'combiner_id', data);
  else if (kind === 'round_client') {
    beginRound(data.round_id);
    takeElement(live.asked, 'client_id', data);
  }
  tell(kind, data);
}

function take(event) {
  const data = JSON.parse(event.data);
  if (waiting) waiting.push([Number(event.lastEventId), event.type, data]);
  else apply(event.type, data);
}

/* Of two that are under way the later one counts; none does after a disconnect(). */
async function takeWhole() {
  const mine = [];
  let doc = null;
  waiting = mine;
  try {
    doc = await get(`${API}/live`, { signal: AbortSignal.timeout(WHOLE_MS) });
  } catch {
    if (waiting === mine) again();
    return;
  }
  if (waiting !== mine) return;
  waiting = null;
  takeDoc(doc);
  failures = 0;
  setConnected(true);
  tell('whole', null);
  for (const [seq, kind, data] of mine) {
    if (seq > doc.seq || ROWS.includes(kind)) apply(kind, data);
  }
}

/* A browser has six connections to a server for all of its tabs: one that nobody sees gives its
 * own back, and catches up when it is seen again. */
function onVisibility() {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(disconnect, HIDDEN_MS);
  else if (!source) connect();
}

function disconnect() {
  clearTimeout(retrying);
  source?.close();
  source = null;
  waiting = null;
}

/* A browser comes again by itself after a broken connection, but not after a refusal. */
function again() {
  disconnect();
  setConnected(false);
  retrying = setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  failures += 1;
}

export function connect() {
  disconnect(); // a second one may be about to come: a tab was shown before its time
  source = new EventSource(`${API}/events/stream`);
  source.addEventListener('hello', takeWhole);
  source.addEventListener('reset', takeWhole);
  for (const kind of ['live', 'client', 'combiner', 'round_client', ...ROWS]) {
    source.addEventListener(kind, take);
  }
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) again();
    else setConnected(false);
  };
}

document.addEventListener('visibilitychange', onVisibility);
window.addEventListener('pagehide', disconnect);
window.addEventListener('pageshow', (event) => event.persisted && !source && connect());
