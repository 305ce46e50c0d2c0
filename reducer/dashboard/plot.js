/* Plots: Vega specifications of plots/, drawn when they are first seen.
 *
 * A specification names its data's source: {"name": "rows", "url": "/api/v1/views/…"}. The page adds
 * the arguments (session, metric) and gives the rows in; the specification says all the rest. Vega
 * comes with the first plot, and evaluates expressions by its interpreter: the page's policy allows
 * no eval.
 */
import { get, query } from './api.js';
import { fill, h } from './dom.js';
import { dataLinks, empty } from './parts.js';

const base = new URL('.', import.meta.url);
let library = null;

function loadLibrary() {
  library ??= new Promise((resolve, reject) => {
    document.head.append(h('script', {
      src: new URL('vega.js', base), onload: () => resolve(joinModules()),
      onerror: () => { library = null; reject(new Error('the plot library did not load')); },
    }));
  });
  return library;
}

/* What Vega's own index does: transforms are registered where the data flow looks for them. */
function joinModules() {
  const all = globalThis.vegaModules;
  const dataflow = all['vega-dataflow'];
  for (const name of ['transforms', 'view-transforms', 'encode', 'hierarchy']) {
    Object.assign(dataflow.transforms, all[`vega-${name}`]);
  }
  return {
    View: all['vega-view'].View,
    parse: all['vega-parser'].parse,
    changeset: dataflow.changeset,
    interpreter: all['vega-interpreter'].expressionInterpreter,
  };
}

const specs = new Map();
function loadSpec(name) {
  if (!specs.has(name)) specs.set(name, get(new URL(`plots/${name}.json`, base)));
  return specs.get(name);
}

/* The page's colours and type, for axes and marks. */
function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const axis = {
    labelColor: of('--muted'), titleColor: of('--muted'), domainColor: of('--line-strong'),
    tickColor: of('--line-strong'), gridColor: of('--line'), labelFontSize: 11, titleFontSize: 11,
    titleFontWeight: 'normal', titlePadding: 8, labelFont: of('--font'), titleFont: of('--font'),
  };
  return {
    background: 'transparent',
    axis,
    legend: {
      labelColor: of('--muted'), titleColor: of('--muted'), labelFont: of('--font'),
      titleFont: of('--font'), labelFontSize: 11, symbolType: 'square', orient: 'top', offset: 6,
    },
    text: { font: of('--font'), fill: of('--text') },
    range: {
      category: [1, 2, 3, 4, 5].map((i) => of(`--plot-${i}`)),
      heatmap: [of('--heat-0'), of('--plot-1')],
      ordinal: ['--good', '--busy', '--warn', '--bad', '--off'].map(of),
    },
  };
}

/* Specifications ask for the page's colours by name: {"signal": "muted"}, … */
function colours() {
  const style = getComputedStyle(document.documentElement);
  return ['text', 'muted', 'line', 'surface', 'good', 'busy', 'warn', 'bad', 'off', 'accent']
    .map((name) => ({ name, value: style.getPropertyValue(`--${name}`).trim() }));
}

const open = new Set();

export class Plot {
  /* options: name, spec (whose specification; its own), label, height, links: false where the page
   * has its own, emptyText */
  constructor({ name, spec = name, label, height = 240, links = true, emptyText = 'Nothing to draw yet.' }) {
    Object.assign(this, { name, spec, label, height, emptyText });
    this.figure = h('div', { class: 'plot', 'data-plot': name });
    this.figure.style.minHeight = `${height}px`;
    this.node = this.figure;
    this.view = null;
    this.rows = null;
    this.links = links ? dataLinks(label, '') : null;
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this.figure);
    open.add(this);
  }

  /* Where the specification's rows are; the links point there from now on. */
  async point(values) {
    const spec = await loadSpec(this.spec);
    const { url } = spec.data.find((d) => d.name === 'rows');
    this.links?.set(url.replace(/^\/api\/v1\//, ''), values);
    return url;
  }

  /* Draw these rows: what a load() with these arguments would have fetched. */
  async show(values, rows) {
    await this.point(values);
    await this.set(rows);
  }

  /* Fetch from the specification's source with these arguments, and draw. Returns the answer. */
  async load(values, signal) {
    const url = await this.point(values);
    const answer = await get(url + query(values), { signal });
    if (!signal?.aborted) await this.set(answer.result);
    return answer;
  }

  /* Draw these rows. One change follows the other: what is drawn at last is what came last. */
  set(rows) {
    this.work = (this.work ?? Promise.resolve()).catch(() => {}).then(() => this.take(rows));
    return this.work;
  }

  async take(rows) {
    if (!open.has(this)) return; // its page has gone
    this.rows = rows;
    if (rows.length === 0) {
      this.drop();
      fill(this.figure, empty(this.emptyText));
      return;
    }
    const vega = await loadLibrary();
    if (this.view) {
      const change = vega.changeset().remove(() => true).insert(rows.map((r) => ({ ...r })));
      await this.view.change('rows', change).runAsync();
      this.figure.dataset.drawn = String(rows.length);
    } else {
      await this.draw(vega);
    }
  }

  async draw(vega) {
    const spec = structuredClone(await loadSpec(this.spec));
    const source = spec.data.find((d) => d.name === 'rows');
    delete source.url;
    delete source.format;
    source.values = this.rows.map((r) => ({ ...r }));
    spec.signals = [...colours(), ...(spec.signals ?? [])];
    spec.width = this.width();
    spec.height = this.height;
    this.drop();
    fill(this.figure);
    this.view = new vega.View(vega.parse(spec, theme(), { ast: true }), {
      renderer: 'svg', container: this.figure, hover: true, expr: vega.interpreter,
      description: this.label,
    });
    await this.view.runAsync();
    this.figure.dataset.drawn = String(this.rows.length);
  }

  width() {
    return Math.max(200, Math.floor(this.figure.clientWidth) || 200);
  }

  resize() {
    if (this.view && this.view.width() !== this.width()) this.view.width(this.width()).runAsync();
  }

  setHeight(height) {
    this.height = height;
    this.figure.style.minHeight = `${height}px`;
    if (this.view && this.view.height() !== height) this.view.height(height).runAsync();
  }

  redraw() {
    this.work = (this.work ?? Promise.resolve()).catch(() => {}).then(() => this.drawAgain());
    return this.work;
  }

  async drawAgain() {
    if (this.rows?.length) await this.draw(await loadLibrary());
  }

  drop() {
    this.view?.finalize();
    this.view = null;
    delete this.figure.dataset.drawn;
  }

  close() {
    this.drop();
    this.resizer.disconnect();
    open.delete(this);
  }
}

/* A page has gone: so have its plots. */
export function closePlots() {
  for (const plot of open) plot.close();
}

/* The colours have changed. */
export function redrawPlots() {
  for (const plot of open) plot.redraw();
}
