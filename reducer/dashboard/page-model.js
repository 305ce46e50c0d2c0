/* One model: where it comes from, what clients found in it, their confusion matrices. */
import { API, get, query, view } from './api.js';
import { fill, h } from './dom.js';
import { bytes, dateTime, number, shortId } from './format.js';
import { badge, card, clientLink, dataLinks, empty, facts, madeIn, modelLink, select, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { Table } from './table.js';

const ALL = ' all'; // no client's id begins so
const TRAIL_MAX = 50;

/* Validations as rows of (client, metric, value). */
function metricRows(validations) {
  const rows = [];
  for (const v of validations) {
    let data = {};
    try {
      data = JSON.parse(v.data) ?? {};
    } catch {
      /* a client's own text: it has no numbers for us */
    }
    for (const [metric, value] of Object.entries(data)) {
      if (typeof value === 'number') rows.push({ client_id: v.sender?.client_id, client: v.sender?.name, metric, value });
    }
  }
  return rows;
}

function confusionCard(rows, modelId) {
  const clients = new Map(rows.map((r) => [r.client_id, r.client]));
  const size = 1 + Math.max(...rows.map((r) => Math.max(r.actual, r.predicted)));
  const plot = new Plot({ name: 'confusion', label: 'Confusion matrix', height: Math.min(520, 90 + 34 * size) });
  plot.links.set('views/confusion', { model_id: modelId });
  const choose = (id) => {
    const chosen = rows.filter((r) => id === ALL || r.client_id === id);
    const sums = new Map();
    for (const r of chosen) {
      const key = `${r.actual} ${r.predicted}`;
      const cell = sums.get(key) ?? { actual: r.actual, predicted: r.predicted, count: 0 };
      cell.count += r.count;
      sums.set(key, cell);
    }
    return plot.set([...sums.values()]);
  };
  const picker = select('Client', [[ALL, 'All clients, added up'], ...clients], { onchange: choose, value: ALL });
  return { choose: () => choose(ALL), node: card('Confusion matrix', { wide: true, links: plot.links, tools: picker,
    note: 'Rows are what an example is, columns what the model took it for.' }, plot.node) };
}

export async function show(root, { signal, id }) {
  const path = `${API}/models/${encodeURIComponent(id)}`;
  const filter = query({ model_id: id });
  const [model, trail, { result: validations }, { result: confusion }] = await Promise.all([
    get(path, { signal }), get(`${path}/ancestors`, { signal, headers: { 'X-Limit': String(TRAIL_MAX) } }),
    get(`${API}/validations/${filter}`, { signal }), view('confusion', { model_id: id }, signal)]);
  signal.addEventListener('abort', closePlots);
  const metrics = new Table({
    label: 'Validations of this model',
    sort: ['client', false],
    empty: 'No client has validated it.',
    columns: [
      { key: 'client', title: 'Client', value: (r) => r.client || r.client_id, cell: (r) => clientLink(r.client_id, r.client) },
      { key: 'metric', title: 'Metric' },
      { key: 'value', title: 'Value', numeric: true },
    ],
  });
  metrics.set(metricRows(validations));
  const matrix = confusion.length > 0 ? confusionCard(confusion, id) : null;
  fill(root, title(model.name || `Model ${shortId(id)}`,
    h('span', { class: 'actions' },
      h('a', { class: 'button', href: `${path}/download`, download: true }, 'Download'),
      h('a', { class: 'button', href: `/dashboard/control?seed=${encodeURIComponent(id)}` }, 'Promote to seed'))),
  card('This model', { wide: true, links: dataLinks('This model', 'models/', { model_id: id }) }, facts([
    ['Id', id], ['Round', model.round_id ? madeIn(model) : badge('seed')],
    ['Parent', model.parent_model ? modelLink(model.parent_model, shortId(model.parent_model)) : '–'],
    ['Tensors', number(model.n_tensors)], ['Parameters', number(model.n_elements)],
    ['Size', bytes(model.size_bytes)], ['SHA-256', h('code', {}, model.sha256 ?? '–')],
    ['Committed at', dateTime(model.committed_at)],
  ])),
  card('Trail', { wide: true, note: 'From this model back to its seed.' }, trail.length === 0 ? empty('It is a seed: it has no parent.')
    : h('ol', { class: 'trail' }, [model, ...trail].map((m) => h('li', {},
      modelLink(m.model_id, m.name || shortId(m.model_id)),
      h('span', { class: 'note' }, m.round_id ? [' round ', madeIn(m)] : ' seed'))))),
  card('Validations', { wide: true, links: dataLinks('Validations', 'validations/', { model_id: id }) }, metrics.node),
  matrix?.node);
  await matrix?.choose();
}
