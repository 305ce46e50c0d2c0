/* Overview: the session's state, the round client by client, what is wrong, accuracy and loss. */
import { quietly, view } from './api.js';
import { fill, h, later, setText, soon } from './dom.js';
import { plural, seconds, shortId } from './format.js';
import { listen, live } from './live.js';
import { badge, card, dataLinks, empty, modelLink, title, toneOf } from './parts.js';

const CELLS_MAX = 600; // clients shown one by one; the rest are counted

const PHASES = ['admitted', 'asked', 'silent', 'refused', 'gone'];

function timeLeft(round) {
  if (!round || round.phase !== 'open' || round.time_left_ms === null) return '';
  const left = Math.max(0, round.time_left_ms - (performance.now() - live.receivedAt));
  return `${seconds(Math.ceil(left / 1000))} left`;
}

function sessionHead(session, round) {
  const name = session.name || `Session ${shortId(session.session_id)}`;
  const number = round ? round.round_number : session.rounds_done;
  const total = round ? Math.max(session.rounds_total, round.round_number) : session.rounds_total;
  return [
    h('p', { class: 'big' }, name, ' ', badge(session.status)),
    h('p', { class: 'lead' }, round ? `Round ${number} of ${total}, ${round.phase}`
      : `${session.rounds_done} of ${plural(session.rounds_total, 'round')} done`,
    session.stopping ? ' · stopping' : ''),
  ];
}

/* One line each, most pressing first. */
function findTroubles() {
  const { trouble, session, round } = live.doc;
  const lines = [...trouble];
  for (const combiner of live.combiners.values()) {
    if (combiner.status === 'offline') lines.push(`Combiner ${combiner.name} is offline.`);
  }
  if (live.combiners.size === 0) lines.push('No combiner has dialled in: clients cannot attach.');
  else if (![...live.clients.values()].some((c) => c.status === 'online')) {
    lines.push('No client is attached.');
  }
  if (session?.failed_rounds > 0) {
    lines.push(`${plural(session.failed_rounds, 'round')} of this session failed.`);
  }
  if (round) {
    const refused = [...live.asked.values()].filter((c) => c.phase === 'refused');
    const named = refused.slice(0, 3).map((c) => `${c.name || c.client_id} (${c.reason})`).join(', ');
    if (refused.length > 0) {
      lines.push(`Refused in this round: ${named}${refused.length > 3 ? `, and ${refused.length - 3} more` : ''}.`);
    }
  }
  return lines;
}

function makeProgress() {
  const bar = h('div', { class: 'progress', role: 'progressbar', 'aria-label': 'Updates of this round',
    'aria-valuemin': 0 });
  const parts = new Map(PHASES.map((phase) => [phase, bar.appendChild(h('span', { 'data-tone': toneOf(phase) }))]));
  const legend = h('p', { class: 'legend' });
  const cells = h('ul', { class: 'cells', 'aria-label': 'Clients of this round' });
  const node = h('div', {}, bar, legend, cells);
  node.set = (asked, total) => {
    const counts = Object.fromEntries(PHASES.map((p) => [p, 0]));
    for (const client of asked) counts[client.phase] += 1;
    for (const [phase, part] of parts) part.style.flexGrow = counts[phase];
    bar.setAttribute('aria-valuemax', total);
    bar.setAttribute('aria-valuenow', counts.admitted);
    fill(legend, PHASES.filter((p) => counts[p] > 0)
      .map((p) => h('span', { class: 'key', 'data-tone': toneOf(p) }, `${counts[p]} ${p}`)));
    fill(cells, asked.slice(0, CELLS_MAX).map((client) => {
      const text = `${client.name || client.client_id}: ${client.phase}${client.reason ? `, ${client.reason}` : ''}`;
      return h('li', {}, h('a', { href: `/dashboard/clients/${encodeURIComponent(client.client_id)}`,
        'data-tone': toneOf(client.phase), title: text },
      asked.length <= 24 ? client.name || client.client_id : h('span', { class: 'hidden' }, text)));
    }));
    cells.classList.toggle('small', asked.length > 24);
  };
  return node;
}

function metricCard(text, what, Plot) {
  const plot = new Plot({ name: what, spec: 'metric', label: `${text} by round`, height: 220,
    emptyText: `No client has reported ${what} in this session.` });
  return { plot, node: card(`${text} by round`, { links: plot.links }, plot.node) };
}

export async function show(root, { signal }) {
  const state = h('div', { class: 'session' });
  const progress = makeProgress();
  const waits = h('p', { class: 'note', role: 'status' });
  const clock = h('span', { class: 'clock' });
  const troubles = h('ul', { class: 'troubles' });
  const roundCard = card('Now', { links: dataLinks('Rounds of the session', 'views/rounds'), wide: true },
    h('div', { class: 'split' }, state, h('div', { class: 'round' }, progress, waits)));
  const grid = h('div', { class: 'grid' });
  fill(root, title('Overview'), h('div', { class: 'grid' }, roundCard,
    card('What is wrong', { wide: true }, troubles)), grid);

  const draw = () => {
    if (!live.doc) return;
    const { session, round, waits_for: waitsFor } = live.doc;
    if (session) {
      fill(state, sessionHead(session, round), h('p', {}, clock),
        h('p', { class: 'note' }, 'Model ', modelLink(session.model_id, shortId(session.model_id))));
    } else {
      fill(state, h('p', { class: 'big' }, 'No session yet'),
        h('p', {}, h('a', { class: 'button', href: '/dashboard/control' }, 'Start one')));
    }
    setText(clock, timeLeft(round));
    progress.hidden = !round || live.asked.size === 0;
    if (round) progress.set([...live.asked.values()], round.clients_asked);
    setText(waits, waitsFor);
    const lines = findTroubles();
    fill(troubles, lines.length === 0 ? h('li', { 'data-tone': 'good' }, 'Nothing.')
      : lines.map((line) => h('li', { 'data-tone': 'warn' }, line)));
  };
  const drawSoon = soon(draw);
  draw();
  const timer = setInterval(() => live.doc && setText(clock, timeLeft(live.doc.round)), 1000);
  signal.addEventListener('abort', () => clearInterval(timer));

  let plots = null;
  const load = async () => {
    const session = live.doc?.session;
    if (!session) {
      plots = null;
      fill(grid, card('Accuracy and loss by round', { wide: true },
        empty('Clients report what they find in each new model. It is drawn here, round by round.')));
      return;
    }
    plots ??= makePlots(grid, signal);
    await (await plots)(session.session_id);
  };
  const loadLater = later(load, 300, signal);
  listen((kind) => {
    if (['live', 'whole', 'client', 'combiner', 'round_client'].includes(kind)) drawSoon();
    if (kind === 'whole') quietly(load());
    if (kind === 'validation' || kind === 'session') loadLater();
  }, signal);
  if (live.doc) await load();
}

/* Accuracy and loss: whatever metrics are called so. Returns what draws those of a session. */
async function makePlots(grid, signal) {
  const { Plot, closePlots } = await import('./plot.js');
  signal.addEventListener('abort', closePlots);
  const accuracy = metricCard('Accuracy', 'accuracy', Plot);
  const loss = metricCard('Loss', 'loss', Plot);
  fill(grid, accuracy.node, loss.node);
  const charts = [
    { plot: accuracy.plot, pattern: /acc/i, metric: null },
    { plot: loss.plot, pattern: /loss|error/i, metric: null },
  ];
  let shown = null; // the session whose metrics are known
  return async (sessionId) => {
    const values = { session_id: sessionId };
    if (sessionId !== shown) charts.forEach((chart) => { chart.metric = null; });
    shown = sessionId;
    let given = null; // while a name is to be found: an answer for whichever metric came first
    if (charts.some((chart) => !chart.metric)) {
      given = await view('validations', values, signal);
      for (const chart of charts) {
        chart.metric ??= given.metrics.find((name) => chart.pattern.test(name)) ?? null;
      }
    }
    await Promise.all(charts.map(({ plot, metric }) => {
      const wanted = { ...values, metric: metric ?? plot.name };
      if (!metric) return plot.show(wanted, []);
      return given?.metric === metric ? plot.show(wanted, given.result) : plot.load(wanted, signal);
    }));
  };
}
