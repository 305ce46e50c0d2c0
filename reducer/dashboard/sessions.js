/* Which session a page speaks of: the one in its address, else the newest that was started. */
import { list, quietly } from './api.js';
import { later } from './dom.js';
import { dateTime } from './format.js';
import { listen } from './live.js';
import { select } from './parts.js';

const SESSIONS_MAX = 200; // the newest, to choose from

/* A select of sessions, its value() the one chosen; onchange(id) at each other choice. Returns null
 * where there is none. */
async function sessionSelect(signal, onchange) {
  const sessions = await list('sessions', { limit: SESSIONS_MAX, signal });
  if (sessions.length === 0) return null;
  const asked = new URLSearchParams(location.search).get('session_id');
  const chosen = sessions.find((s) => s.session_id === asked) ??
    sessions.find((s) => s.status !== 'Created') ?? sessions[0];
  const node = select('Session', sessions.map((s) =>
    [s.session_id, `${s.name || s.session_id.slice(0, 8)}, ${dateTime(s.committed_at)}`]), {
    value: chosen.session_id,
    onchange: (id) => {
      history.replaceState(null, '', `${location.pathname}?session_id=${encodeURIComponent(id)}`);
      quietly(onchange(id) ?? Promise.resolve());
    },
  });
  node.value = () => node.input.value;
  return node;
}

/* Calls begin(sessions) once with a select of sessions, as soon as there is one: now, or when the
 * first one comes. Returns whether there is one now; then begin() has ended. */
export async function withSessions(signal, onchange, begin) {
  const looking = new AbortController();
  signal.addEventListener('abort', () => looking.abort());
  const look = async () => {
    const sessions = await sessionSelect(signal, onchange);
    if (!sessions || looking.signal.aborted) return;
    looking.abort();
    await begin(sessions);
  };
  const lookLater = later(look, 300, looking.signal);
  listen((kind) => (kind === 'session' || kind === 'whole') && lookLater(), looking.signal);
  await look();
  return looking.signal.aborted;
}
