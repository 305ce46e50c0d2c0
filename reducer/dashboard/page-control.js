/* Control: start a session, stop the one that runs. */
import { API, list, post, quietly } from './api.js';
import { fill, h, soon } from './dom.js';
import { dateTime, plural, shortId } from './format.js';
import { listen, live } from './live.js';
import { badge, card, dataLinks, field, select, title } from './parts.js';
import { Table } from './table.js';

const MODELS_MAX = 300; // the newest, to choose from
const STRATEGIES = [['fedavg', 'fedavg: mean, weighted by examples']];

function modelText(model) {
  const id = shortId(model.model_id);
  return model.name ? `${model.name} (${id})` : `round ${model.round_id ?? '–'}, ${dateTime(model.committed_at)} (${id})`;
}

function makeForm(models, seed) {
  const part = {
    name: field('Name', { type: 'text', maxlength: 100, placeholder: 'optional' }),
    model: select('Seed model', models.map((m) => [m.model_id, modelText(m)]), { value: seed }),
    rounds: field('Rounds', { type: 'number', min: 1, max: 100000, value: 5, required: true }),
    timeout: field('Round timeout', { type: 'number', min: 1, max: 86400, value: 180, required: true }, 'Seconds; what comes later does not count.'),
    quorum: field('Quorum', { type: 'number', min: 1, max: 100000, value: 1, required: true }, 'Updates that make a round valid.'),
    clients: field('Clients per round', { type: 'number', min: 1, max: 100000, placeholder: 'all' }, 'Drawn at random; empty: everybody.'),
    strategy: select('Strategy', STRATEGIES),
    validate: field('Validate', { type: 'checkbox', checked: true }, 'Clients test each new model on their own data.'),
  };
  const error = h('p', { class: 'error', role: 'alert' });
  const button = h('button', { type: 'submit', class: 'button primary' }, 'Start session');
  const form = h('form', { class: 'form' }, Object.values(part), h('div', { class: 'submit' }, button, error));
  const value = (key) => part[key].input.value;
  form.read = () => ({
    name: value('name') || undefined,
    session_config: {
      aggregator: value('strategy'), model_id: value('model'), round_timeout: Number(value('timeout')),
      clients_required: Number(value('quorum')), validate: part.validate.input.checked, buffer_size: -1,
      clients_per_round: value('clients') === '' ? undefined : Number(value('clients')),
      helper_type: 'numpyhelper', delete_models_storage: true,
    },
  });
  form.rounds = () => Number(value('rounds'));
  return Object.assign(form, { part, error, button });
}

/* Made, then started: as FEDn's own clients do it. */
async function start(form) {
  const session = await post(`${API}/sessions/`, form.read());
  await post(`${API}/sessions/start`, { session_id: session.session_id, rounds: form.rounds() });
}

function sessionTable() {
  return new Table({
    label: 'Sessions',
    sort: ['committed_at', true],
    empty: 'None yet.',
    columns: [
      { key: 'name', title: 'Session', value: (s) => s.name || shortId(s.session_id),
        cell: (s) => h('a', { href: `/dashboard/rounds?session_id=${encodeURIComponent(s.session_id)}` }, s.name || shortId(s.session_id)) },
      { key: 'status', title: 'Status', cell: (s) => badge(s.status) },
      { key: 'rounds_done', title: 'Rounds', numeric: true, cell: (s) => `${s.rounds_done ?? 0} of ${s.rounds_total ?? 0}` },
      { key: 'failed_rounds', title: 'Failed', numeric: true },
      { key: 'committed_at', title: 'Created', value: (s) => Date.parse(s.committed_at), cell: (s) => dateTime(s.committed_at) },
    ],
  });
}

/* The running session, and how to end it. */
function runningPanel() {
  const error = h('p', { class: 'error', role: 'alert' });
  const stop = (now) => async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    error.textContent = '';
    try {
      await post(`${API}/sessions/${encodeURIComponent(live.doc.session.session_id)}/stop`, { now });
    } catch (failure) {
      error.textContent = failure.message;
    }
    button.disabled = false;
  };
  const text = h('p', { class: 'lead' });
  const after = h('button', { type: 'button', class: 'button', onclick: stop(false) }, 'Stop after this round');
  const now = h('button', { type: 'button', class: 'button danger', onclick: stop(true) }, 'Stop now');
  const node = h('div', {}, text, h('div', { class: 'submit' }, after, now, error));
  node.update = () => {
    const { session, round } = live.doc;
    fill(text, `${session.name || shortId(session.session_id)} `, badge(session.status), ' ',
      round ? `round ${round.round_number}, ${round.phase}` : '',
      ` · ${session.rounds_done} of ${plural(session.rounds_total, 'round')} done`,
      session.stopping ? ' · stopping after this round' : '');
    after.hidden = session.stopping;
  };
  return node;
}

export async function show(root, { signal }) {
  const asked = new URLSearchParams(location.search).get('seed');
  const models = await list('models', { limit: MODELS_MAX, signal });
  if (asked && !models.some((m) => m.model_id === asked)) models.unshift({ model_id: asked });
  const form = makeForm(models, asked ?? models[0]?.model_id);
  const running = runningPanel();
  const runningCard = card('Running session', { wide: true }, running);
  const sessions = sessionTable();
  const note = models.length === 0
    ? h('p', { class: 'banner' }, 'There is no model to start from. Upload one: ', h('code', {}, 'confed model upload FILE.npz --name seed'))
    : null;
  fill(root, title('Control'),
    h('p', { class: 'banner' }, 'This port has no password and no encryption yet: whoever can open this page can do what it does. It listens on this machine alone unless told otherwise.'),
    runningCard,
    card('Start a session', { wide: true }, note, form),
    card('Sessions', { wide: true, links: dataLinks('Sessions', 'sessions/') }, sessions.node));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    form.button.disabled = true;
    form.error.textContent = '';
    try {
      await start(form);
      runningCard.scrollIntoView({ block: 'nearest' });
    } catch (failure) {
      form.error.textContent = failure.message;
    }
    update();
  });
  const update = soon(() => {
    if (!live.doc) return;
    const isRunning = live.doc.state !== 'idle' && live.doc.session !== null;
    runningCard.hidden = !isRunning;
    form.button.disabled = isRunning || models.length === 0;
    if (isRunning) running.update();
  });
  const loadSessions = async () => sessions.set(await list('sessions', { limit: 200, signal }));
  listen((kind) => {
    if (kind === 'live' || kind === 'whole') update();
    if (kind === 'session' || kind === 'whole') quietly(loadSessions());
  }, signal);
  runningCard.hidden = true;
  update();
  await loadSessions();
}
