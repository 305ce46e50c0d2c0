/* Rounds: where the time goes, at clients and at combiners, and what came of each round. */
import { view } from './api.js';
import { fill, h, later } from './dom.js';
import { dateTime, seconds, shortId } from './format.js';
import { listen } from './live.js';
import { badge, card, dataLinks, empty, modelLink, roundLink, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { withSessions } from './sessions.js';
import { Table } from './table.js';

const CLIENT_TIMES = 'Breakdown of the client processing time during rounds (in seconds)';
const HISTOGRAM = 'Client training time distribution (histogram density)';
const COMBINER_TIMES = 'Breakdown of the combiner processing time during rounds (in seconds)';

function roundTable() {
  return new Table({
    label: 'Rounds',
    sort: ['round_number', true],
    empty: 'No round yet.',
    columns: [
      { key: 'round_number', title: 'Round', numeric: true, cell: (r) => roundLink(r.round_id, r.round_number) },
      { key: 'status', title: 'Status', cell: (r) => badge(r.status) },
      { key: 'asked', title: 'Asked', numeric: true },
      { key: 'counted', title: 'Counted', numeric: true },
      { key: 'refused', title: 'Refused', numeric: true },
      { key: 'seconds', title: 'Took', numeric: true, cell: (r) => seconds(r.seconds) },
      { key: 'planned_utc_ms', title: 'Began', cell: (r) => dateTime(r.planned_utc_ms) },
      { key: 'model_id', title: 'Model', cell: (r) => r.model_id && modelLink(r.model_id, shortId(r.model_id)) },
      { key: 'failure', title: 'Failure' },
    ],
  });
}

/* The page of sessions that there are. Returns load(sessionId). */
function showSessions(root, signal, sessions) {
  const plots = [
    new Plot({ name: 'client-times', label: CLIENT_TIMES, emptyText: 'No client has told its times yet.' }),
    new Plot({ name: 'training-histogram', label: HISTOGRAM, emptyText: 'No client has told its times yet.' }),
    new Plot({ name: 'combiner-times', label: COMBINER_TIMES, emptyText: 'No round has been committed yet.' }),
  ];
  const table = roundTable();
  const links = dataLinks('Rounds', 'views/rounds');
  signal.addEventListener('abort', closePlots);
  const load = async (sessionId) => {
    const values = { session_id: sessionId };
    links.set('views/rounds', values);
    const [rounds] = await Promise.all([view('rounds', values, signal), ...plots.map((p) => p.load(values, signal))]);
    table.set(rounds.result);
  };
  fill(root, title('Rounds', sessions), h('div', { class: 'grid three' },
    card(CLIENT_TIMES, { links: plots[0].links, note: 'Mean of the clients.' }, plots[0].node),
    card(HISTOGRAM, { links: plots[1].links, note: 'All updates of the session.' }, plots[1].node),
    card(COMBINER_TIMES, { links: plots[2].links, note: 'Mean of the combiners.' }, plots[2].node)),
  card('Rounds', { wide: true, links }, table.node));
  const loadLater = later(() => load(sessions.value()), 300, signal);
  listen((kind) => (kind === 'round' || kind === 'whole') && loadLater(), signal);
  return load;
}

export async function show(root, { signal }) {
  let load = null;
  const isThere = await withSessions(signal, (id) => load(id), (sessions) => {
    load = showSessions(root, signal, sessions);
    return load(sessions.value());
  });
  if (isThere) return;
  fill(root, title('Rounds'), empty('No session has run yet.',
    h('a', { class: 'button', href: '/dashboard/control' }, 'Start one')));
}
