/* One round: who trained when, who was late, who was refused and why. */
import { API, get, quietly, view } from './api.js';
import { fill, h } from './dom.js';
import { dateTime, number, seconds, shortId } from './format.js';
import { listen } from './live.js';
import { badge, card, clientLink, dataLinks, facts, modelLink, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { Table } from './table.js';

const LINE_PX = 20;
const LINES_MAX = 200; // clients drawn: those in trouble first

function outcomeTable() {
  return new Table({
    label: 'Clients of this round',
    sort: ['outcome', true],
    columns: [
      { key: 'client_id', title: 'Client', cell: (r) => clientLink(r.client_id, r.client_id) },
      { key: 'outcome', title: 'Outcome', cell: (r) => badge(r.outcome) },
      { key: 'end_s', title: 'Answered after', numeric: true,
        value: (r) => (r.phase === 'asked' ? null : r.end_s), cell: (r) => (r.phase === 'asked' ? '–' : seconds(r.end_s)) },
      { key: 'reason', title: 'Reason' },
      { key: 'detail', title: 'Detail' },
    ],
  });
}

/* One row a client: its last phase. */
function lastOf(rows) {
  const last = new Map();
  for (const row of rows) {
    const known = last.get(row.client_id);
    if (!known || row.end_s > known.end_s) last.set(row.client_id, row);
  }
  return [...last.values()];
}

/* What is drawn: refused and silent clients first, then the slowest. */
function pick(rows) {
  const clients = lastOf(rows).sort((a, b) => (a.outcome === 'counted') - (b.outcome === 'counted') || b.end_s - a.end_s)
    .slice(0, LINES_MAX).map((r) => r.client_id);
  const chosen = new Set(clients);
  return [rows.filter((r) => chosen.has(r.client_id)), clients.length];
}

/* Those that are listed, and those that only a counter knows. */
const countRefused = (round) =>
  Object.values(round.refused_more).reduce((sum, n) => sum + n, round.refused.length);

export async function show(root, { signal, id }) {
  const round = await get(`${API}/rounds/${encodeURIComponent(id)}`, { signal });
  const plot = new Plot({ name: 'timeline', label: `Timeline of round ${round.round_number}`,
    emptyText: 'Nobody was asked in this round.' });
  const table = outcomeTable();
  const about = h('div');
  plot.links.set('views/timeline', { round_id: id });
  signal.addEventListener('abort', closePlots);
  fill(root, title(`Round ${round.round_number}`),
    card('This round', { wide: true, links: dataLinks('This round', 'rounds/', { round_id: id }) }, about),
    card('Timeline', { wide: true, links: plot.links, note: 'Seconds since the round began: who trained when.' }, plot.node),
    card('Clients', { wide: true, links: dataLinks('Clients', 'views/timeline', { round_id: id }) }, table.node));
  const load = async () => {
    const [now, { result }] = await Promise.all([
      get(`${API}/rounds/${encodeURIComponent(id)}`, { signal }), view('timeline', { round_id: id }, signal)]);
    const t = now.timings ?? {};
    fill(about, facts([
      ['Status', badge(now.status)], ['Began', dateTime(now.planned_utc_ms)],
      ['Asked', number(now.clients.length)], ['Counted', number(now.entries.length)],
      ['Refused', number(countRefused(now))], ['Took', seconds(t.total_ms === null ? null : t.total_ms / 1000)],
      ['Base model', modelLink(now.base_model_id, shortId(now.base_model_id))],
      ['Model', now.model_id ? modelLink(now.model_id, shortId(now.model_id)) : '–'],
      now.failure && ['Failure', now.failure],
    ].filter(Boolean)));
    table.set(lastOf(result));
    const [rows, nClients] = pick(result);
    plot.setHeight(Math.max(120, nClients * LINE_PX + 20));
    await plot.set(rows);
  };
  listen((kind, data) => {
    if (kind === 'whole' || (kind === 'round' && data.id === id)) quietly(load());
  }, signal);
  await load(); // anew: what changed before we listened was told to nobody
}
