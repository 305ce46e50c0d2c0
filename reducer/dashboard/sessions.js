/* Which session a page speaks of: the one in its address, else the newest that was started. */
import { list, quietly } from './api.js';
import { dateTime } from './format.js';
import { select } from './parts.js';

const SESSIONS_MAX = 200; // the newest, to choose from

/* A select of sessions; onchange(id) at each choice. Returns null where there is none. */
export async function sessionSelect(signal, onchange) {
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
