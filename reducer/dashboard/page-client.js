/* One client: what it is, its rounds, its timings, its refused updates. */
import { API, get, list, view } from './api.js';
import { fill, h, later, soon } from './dom.js';
import { dateTime, instant, seconds } from './format.js';
import { listen, live } from './live.js';
import { badge, card, dataLinks, empty, facts, roundLink, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { withSessions } from './sessions.js';
import { Table } from './table.js';

function roundsTable() {
  return new Table({
    label: 'Rounds of this client',
    sort: ['round_number', true],
    empty: 'It has not been asked in this session.',
    columns: [
      { key: 'round_number', title: 'Round', numeric: true, cell: (r) => roundLink(r.round_id, r.round_number) },
      { key: 'planned_utc_ms', title: 'Asked at', cell: (r) => dateTime(r.planned_utc_ms) },
      { key: 'outcome', title: 'Outcome', cell: (r) => badge(r.outcome) },
      { key: 'examples', title: 'Examples', numeric: true },
      { key: 'download_s', title: 'Download', numeric: true, cell: (r) => seconds(r.download_s) },
      { key: 'training_s', title: 'Training', numeric: true, cell: (r) => seconds(r.training_s) },
      { key: 'upload_s', title: 'Upload', numeric: true, cell: (r) => seconds(r.upload_s) },
    ],
  });
}

function refusalsTable() {
  return new Table({
    label: 'Refused updates',
    filter: false,
    sort: ['round_number', true],
    empty: 'None in this session.',
    columns: [
      { key: 'round_number', title: 'Round', numeric: true, cell: (r) => roundLink(r.round_id, r.round_number) },
      { key: 'reason', title: 'Reason' },
      { key: 'detail', title: 'Detail' },
      { key: 'update_id', title: 'Update' },
    ],
  });
}

export async function show(root, { signal, id }) {
  const row = await get(`${API}/clients/${encodeURIComponent(id)}`, { signal })
    .catch((error) => (live.clients.get(id) ? { client_id: id } : Promise.reject(error)));
  const about = h('div');
  const rounds = roundsTable();
  const refusals = refusalsTable();
  const times = new Plot({ name: 'client-times', label: `Processing time of ${row.name || id} by round`,
    emptyText: 'It has told no times in this session.' });
  const links = [dataLinks('Its rounds', ''), dataLinks('Its refused updates', '')];
  signal.addEventListener('abort', closePlots);

  const showAbout = soon(() => {
    const now = live.clients.get(id);
    fill(about, facts([
      ['Status', badge(now?.status ?? row.status)], ['Id', id],
      ['Combiner', now?.combiner ?? row.combiner ?? '–'], ['IP', now?.ip ?? row.ip ?? '–'],
      ['Package', row.package ?? '–'], ['Joined', dateTime(instant(row.committed_at))],
      ['Last seen', dateTime(instant(row.last_seen))],
    ]));
  });
  const load = async (sessionId) => {
    const values = { client_id: id, session_id: sessionId };
    links[0].set('views/client-rounds', values);
    links[1].set('views/refusals', values);
    const [asked, refused, { result }] = await Promise.all([
      view('client-rounds', values, signal), view('refusals', values, signal), times.load(values, signal)]);
    const byRound = new Map(result.map((t) => [t.round_id, t]));
    rounds.set(asked.result.map((r) => ({ ...byRound.get(r.round_id), ...r })));
    refusals.set(refused.result);
  };
  const attributes = await list('attributes', { filter: { 'sender.client_id': id }, limit: 100, signal });
  const told = new Map(attributes.reverse().map((a) => [a.key, String(a.value)]));
  const choice = h('div');
  const ofSession = h('div', { class: 'page' });
  fill(root, title(row.name || id, choice),
    card('This client', { wide: true, links: dataLinks('This client', `clients/`, { client_id: id }) }, about,
      told.size > 0 && facts([...told])),
    ofSession);
  showAbout();
  let loadLater = null; // no session yet
  listen((kind, data) => {
    if (kind === 'whole' || (kind === 'client' && data.client_id === id)) showAbout();
    if (kind === 'round') loadLater?.();
  }, signal);
  const isThere = await withSessions(signal, load, (sessions) => {
    loadLater = later(() => load(sessions.value()), 300, signal);
    fill(choice, sessions);
    fill(ofSession,
      card('History', { links: links[0], wide: true }, rounds.node),
      card('Timings', { note: 'Model download, training and upload of each round, in seconds.', links: times.links, wide: true }, times.node),
      card('Refused updates', { links: links[1], wide: true }, refusals.node));
    return load(sessions.value());
  });
  if (!isThere) fill(ofSession, empty('No session has run yet.'));
}
