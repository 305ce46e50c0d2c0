/* The frame around the pages: addresses, navigation, theme, the state in the corner. */
import { fill, h, setText } from './dom.js';
import { connect, listen, live } from './live.js';
import { empty, title } from './parts.js';

const PAGES = [
  [/^\/dashboard\/$/, () => import('./page-overview.js'), 'Overview'],
  [/^\/dashboard\/network$/, () => import('./page-network.js'), 'Network'],
  [/^\/dashboard\/clients\/([^/]+)$/, () => import('./page-client.js'), 'Client'],
  [/^\/dashboard\/models$/, () => import('./page-models.js'), 'Models'],
  [/^\/dashboard\/models\/([^/]+)$/, () => import('./page-model.js'), 'Model'],
  [/^\/dashboard\/rounds$/, () => import('./page-rounds.js'), 'Rounds'],
  [/^\/dashboard\/rounds\/([^/]+)$/, () => import('./page-round.js'), 'Round'],
  [/^\/dashboard\/events$/, () => import('./page-events.js'), 'Events'],
  [/^\/dashboard\/control$/, () => import('./page-control.js'), 'Control'],
];
/* Which entry of the navigation a page belongs to. */
const PARENTS = { Client: '/dashboard/network', Model: '/dashboard/models', Round: '/dashboard/rounds' };

const main = document.getElementById('main');
let leaving = new AbortController();

function markNavigation(name) {
  for (const link of document.querySelectorAll('nav a')) {
    const is = link.pathname === (PARENTS[name] ?? location.pathname);
    if (is) link.setAttribute('aria-current', link.pathname === location.pathname ? 'page' : 'true');
    else link.removeAttribute('aria-current');
    if (is) link.scrollIntoView({ block: 'nearest', inline: 'center' });
  }
}

function showFailure(root, name, error) {
  fill(root, title(name), empty(`This page could not be shown: ${error.message}`));
}

async function show(isFirst) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const found = PAGES.find(([pattern]) => pattern.test(location.pathname));
  const [pattern, load, name] = found ?? [/$/, null, 'Nothing here'];
  document.title = `${name} · Confed`;
  markNavigation(name);
  const root = h('div', { class: 'page' });
  try {
    if (!load) throw new Error('there is no such page');
    const page = await load();
    if (signal.aborted) return;
    fill(main, root);
    if (!isFirst) {
      main.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    const id = location.pathname.match(pattern)[1];
    await page.show(root, { signal, id: id && decodeURIComponent(id), go });
  } catch (error) {
    if (signal.aborted) return;
    fill(main, root);
    showFailure(root, name, error);
  }
}

/* Another page of ours, by its address. */
function go(address) {
  history.pushState(null, '', address);
  show(false);
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const isOurs = link.origin === location.origin && link.pathname.startsWith('/dashboard/') &&
    !link.pathname.startsWith('/dashboard/files/');
  if (!isOurs || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
window.addEventListener('popstate', () => show(false));

/* -- theme -------------------------------------------------------------------------------------- */

const isDark = () => document.documentElement.dataset.theme === 'dark'; // theme.js says so from the start

async function themeChanged() {
  const other = isDark() ? 'Light' : 'Dark';
  document.getElementById('theme').textContent = other;
  document.getElementById('theme').setAttribute('aria-label', `Switch to ${other.toLowerCase()}`);
  if (document.querySelector('.plot[data-drawn]')) (await import('./plot.js')).redrawPlots();
}

document.getElementById('theme').addEventListener('click', () => {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? 'light' : 'dark';
  try {
    localStorage.setItem('theme', root.dataset.theme);
  } catch {
    /* for this page only, then */
  }
  themeChanged();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themeChanged); // after theme.js's
themeChanged();

/* -- the state in the corner --------------------------------------------------------------------- */

const STATES = { idle: ['Idle', 'off'], instructing: ['Starting', 'busy'], monitoring: ['Running', 'busy'] };

function showState() {
  const [text, tone] = !live.isConnected ? ['Not connected', 'bad'] : STATES[live.doc.state] ?? [live.doc.state, 'off'];
  const isTroubled = live.isConnected && live.doc.trouble.length > 0;
  document.getElementById('state').dataset.tone = isTroubled ? 'warn' : tone;
  setText(document.getElementById('state-text'), isTroubled ? `${text}, with trouble` : text);
}

listen((kind) => {
  if (kind === 'live' || kind === 'whole' || kind === 'connection') showState();
});
connect();
show(true);
