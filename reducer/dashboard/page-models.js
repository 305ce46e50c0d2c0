/* Models: the trail, and how validations of each model spread over the clients. */
import { list, quietly } from './api.js';
import { fill, h, later } from './dom.js';
import { bytes, dateTime, instant, shortId } from './format.js';
import { listen } from './live.js';
import { card, dataLinks, empty, madeIn, modelLink, select, title } from './parts.js';
import { Plot, closePlots } from './plot.js';
import { withSessions } from './sessions.js';
import { Table } from './table.js';

const MODELS_MAX = 2000; // the newest

function modelTable() {
  return new Table({
    label: 'Models',
    sort: ['committed_at', true],
    empty: 'No model yet. Upload a seed: confed model upload FILE.npz --name NAME.',
    columns: [
      { key: 'model_id', title: 'Model ID', cell: (m) => modelLink(m.model_id, shortId(m.model_id)) },
      { key: 'name', title: 'Name' },
      { key: 'round_number', title: 'Round', numeric: true, cell: (m) => (m.round_id ? madeIn(m) : 'seed') },
      { key: 'parent_model', title: 'Parent',
        cell: (m) => m.parent_model && modelLink(m.parent_model, shortId(m.parent_model)) },
      { key: 'mean', title: 'Metric (mean)', numeric: true },
      { key: 'size_bytes', title: 'Size', numeric: true, cell: (m) => bytes(m.size_bytes) },
      { key: 'committed_at', title: 'Committed at', value: (m) => instant(m.committed_at),
        cell: (m) => dateTime(m.committed_at) },
      { key: 'actions', title: 'Actions', value: () => null,
        cell: (m) => h('span', { class: 'actions' },
          h('a', { href: `/api/v1/models/${encodeURIComponent(m.model_id)}/download`, download: true,
            'aria-label': `Download model ${shortId(m.model_id)}` }, 'Download'),
          h('a', { href: `/dashboard/control?seed=${encodeURIComponent(m.model_id)}`,
            'aria-label': `Promote model ${shortId(m.model_id)} to seed` }, 'Promote to seed')) },
    ],
  });
}

/* The mean of each model's values. */
function means(rows) {
  const sums = new Map();
  for (const { model_id: id, value } of rows) {
    const [sum, n] = sums.get(id) ?? [0, 0];
    sums.set(id, [sum + value, n + 1]);
  }
  return new Map([...sums].map(([id, [sum, n]]) => [id, sum / n]));
}

export async function show(root, { signal }) {
  const table = modelTable();
  const plot = new Plot({ name: 'validations', label: 'Model validations', height: 280,
    emptyText: 'No validation of this metric in this session.' });
  let models = [];
  let mean = new Map();
  let metric = null;
  signal.addEventListener('abort', closePlots);

  const showModels = () => table.set(models.map((m) => ({ ...m, mean: mean.get(m.model_id) ?? null })));
  const loadPlot = async (sessionId) => {
    const answer = await plot.load({ session_id: sessionId, metric }, signal);
    metric = answer.metric;
    metrics.set(answer.metrics.map((name) => [name, name]), metric);
    mean = means(answer.result);
    showModels();
  };
  let sessions = null; // none yet
  const metrics = select('Metric', [], { onchange: (name) => {
    metric = name;
    quietly(loadPlot(sessions.value()));
  } });
  const choices = h('div', { class: 'choices' });
  const drawn = h('div', {}, plot.node);
  const loadModels = async () => {
    models = await list('models', { limit: MODELS_MAX, signal });
    showModels();
  };
  const plotLater = later(() => loadPlot(sessions.value()), 300, signal);
  fill(root, title('Models'),
    card('Model validations', { wide: true, links: plot.links, tools: choices,
      note: 'Box plot showing the model validation distribution across all clients.' }, drawn),
    card('Models', { wide: true, links: dataLinks('Models', 'models/') }, table.node));
  listen((kind) => {
    if (kind === 'model' || kind === 'whole') quietly(loadModels());
    if (kind === 'validation' && sessions) plotLater();
  }, signal);
  const chosen = (id) => {
    metric = null;
    return loadPlot(id);
  };
  const [, isThere] = await Promise.all([loadModels(), withSessions(signal, chosen, (found) => {
    sessions = found;
    fill(choices, sessions, metrics);
    fill(drawn, plot.node);
    return loadPlot(sessions.value());
  })]);
  if (!isThere && !sessions) {
    fill(drawn, empty('Once a session runs, clients validate each new model, and what they find is drawn here.'));
  }
}
