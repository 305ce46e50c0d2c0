/* Network: the graph, and tables of combiners and clients. */
import { list, quietly, API } from './api.js';
import { fill, h, later, soon } from './dom.js';
import { dateTime, instant, number, plural } from './format.js';
import { listen, live } from './live.js';
import { badge, card, clientLink, dataLinks, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { Table } from './table.js';

const GRAPH_MAX = 400; // clients drawn, and not counted at their combiner
const REFRESH_MS = 250; // the graph is drawn anew at most this often

/* Attached clients are given trainings and validations alike. */
const ROLE = 'trainer, validator';

function combinerTable() {
  return new Table({
    label: 'Combiners',
    sort: ['name', false],
    filter: false,
    empty: 'No combiner has dialled in. Start one with confed-combiner --reducer ADDRESS.',
    columns: [
      { key: 'name', title: 'Name' },
      { key: 'trainers', title: 'Active trainers', numeric: true },
      { key: 'validators', title: 'Active validators', numeric: true },
      { key: 'address', title: 'Address' },
      { key: 'load', title: 'Load', value: (row) => row.clients / (row.clients_max || 1),
        cell: (row) => `${number(row.clients)} of ${number(row.clients_max)} clients` },
      { key: 'version', title: 'Version' },
      { key: 'status', title: 'Status', cell: (row) => badge(row.status) },
    ],
  });
}

function clientTable() {
  return new Table({
    label: 'Clients',
    sort: ['status', true],
    empty: 'No client has joined. Start one with confed-client --api-url of this server.',
    columns: [
      { key: 'name', title: 'Name', value: (row) => row.name || row.client_id,
        cell: (row) => clientLink(row.client_id, row.name || row.client_id), text: (row) => row.client_id },
      { key: 'combiner', title: 'Combiner' },
      { key: 'ip', title: 'IP' },
      { key: 'updated', title: 'Updated At', value: (row) => instant(row.updated_at),
        cell: (row) => dateTime(row.updated_at), text: (row) => dateTime(row.updated_at) },
      { key: 'role', title: 'Role', value: () => ROLE },
      { key: 'status', title: 'Status', cell: (row) => badge(row.status) },
    ],
  });
}

/* Nodes with their parents, for the graph. Beyond GRAPH_MAX clients stand for themselves only while
 * something is up with them; the rest are one node at each combiner. */
function graphNodes() {
  const nodes = [{ id: 'r', parent: null, kind: 'reducer', name: 'Reducer', state: live.isConnected ? 'online' : 'offline' }];
  const byName = new Map();
  for (const c of live.combiners.values()) {
    byName.set(c.name, `c:${c.combiner_id}`);
    nodes.push({ id: `c:${c.combiner_id}`, parent: 'r', kind: 'combiner', name: c.name,
      state: c.status, label: `${c.name} (${plural(c.clients, 'client')})` });
  }
  const more = new Map();
  let n = 0;
  for (const client of live.clients.values()) {
    const parent = byName.get(client.combiner);
    if (!parent) continue;
    n += 1;
    if (n > GRAPH_MAX) {
      more.set(parent, (more.get(parent) ?? 0) + 1);
    } else {
      nodes.push({ id: `k:${client.client_id}`, parent, kind: 'client', name: client.name || client.client_id,
        state: live.asked.get(client.client_id)?.phase ?? client.status });
    }
  }
  for (const [parent, count] of more) {
    nodes.push({ id: `m:${parent}`, parent, kind: 'client', name: `${number(count)} more`, state: 'online' });
  }
  return nodes;
}

export async function show(root, { signal }) {
  const graph = new Plot({ name: 'network', label: 'Network graph: the reducer, its combiners, their clients',
    height: 420, links: false });
  const legend = h('p', { class: 'legend' }, [['good', 'online or counted'], ['busy', 'at work'],
    ['warn', 'silent'], ['bad', 'refused'], ['off', 'offline']]
    .map(([tone, text]) => h('span', { class: 'key', 'data-tone': tone }, text)));
  const liveLink = h('span', { class: 'data' },
    h('a', { href: `${API}/clients/?format=csv`, download: true, 'aria-label': 'Network as CSV' }, 'CSV'),
    h('a', { href: `${API}/live`, 'aria-label': 'Network as JSON' }, 'JSON'));
  const combiners = combinerTable();
  const clients = clientTable();
  fill(root, title('Network'),
    card('Network composition', { note: 'Reducer, combiners and clients as they are now.', links: liveLink, wide: true },
      legend, graph.node),
    card('Combiners', { links: dataLinks('Combiners', 'combiners/'), wide: true }, combiners.node),
    card('Clients', { links: dataLinks('Clients', 'clients/'), wide: true }, clients.node));
  signal.addEventListener('abort', closePlots);

  const rows = new Map(); // clients as they are stored, by id
  const showClients = soon(() => {
    clients.set([...rows.values()].map((row) => {
      const now = live.clients.get(row.client_id);
      return now ? { ...row, ...now, updated_at: row.updated_at } : row;
    }));
  });
  const showCombiners = soon(() => combiners.set([...live.combiners.values()].map((c) =>
    ({ ...c, trainers: c.clients, validators: c.clients }))));
  const showGraph = later(() => graph.set(graphNodes()), REFRESH_MS, signal);

  const loadAll = async () => {
    const all = await list('clients', { limit: 0, signal });
    rows.clear();
    for (const row of all) rows.set(row.client_id, row);
    for (const c of live.clients.values()) {
      if (!rows.has(c.client_id)) rows.set(c.client_id, c);
    }
    showClients();
  };
  /* A client that came: its row may be written a moment later than it is seen. One that is gone has
   * been deleted, or is long away and has a row still. */
  const loadOne = async (id) => {
    if (live.clients.has(id)) {
      rows.set(id, { ...live.clients.get(id), updated_at: new Date().toUTCString() });
      showClients();
    }
    const [row] = await list('clients', { filter: { client_id: id }, limit: 1, signal }).catch(() => []);
    if (row) rows.set(id, row);
    else if (!live.clients.has(id)) rows.delete(id);
    showClients();
  };
  listen((kind, data) => {
    if (kind === 'whole') quietly(loadAll());
    if (kind === 'client') {
      if (data.gone || !rows.has(data.client_id)) quietly(loadOne(data.client_id));
      else rows.get(data.client_id).updated_at = new Date().toUTCString();
    }
    if (['whole', 'client'].includes(kind)) showClients();
    if (['whole', 'combiner', 'client'].includes(kind)) showCombiners();
    if (['whole', 'combiner', 'client', 'round_client', 'live', 'connection'].includes(kind)) showGraph();
  }, signal);
  showCombiners();
  await Promise.all([loadAll(), live.doc && graph.set(graphNodes())]);
}
