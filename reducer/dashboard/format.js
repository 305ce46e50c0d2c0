/* Values as people read them. Everything unknown is an en dash. */
export const NONE = '–';

const DATE_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 4 });

/* An HTTP date, an ISO date or ms since 1970, as a number to sort by. null: it is none. */
export function instant(value) {
  if (value === null || value === undefined || value === '') return null;
  const ms = typeof value === 'number' ? value : Date.parse(value);
  return Number.isFinite(ms) ? ms : null;
}

export function dateTime(value) {
  const ms = instant(value);
  return ms === null ? NONE : DATE_TIME.format(ms);
}

export function number(value) {
  return typeof value === 'number' && Number.isFinite(value) ? NUMBER.format(value) : NONE;
}

export function seconds(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return NONE;
  if (value < 0.0005) return '0 ms';
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  return minutes < 60
    ? `${minutes} min ${Math.round(value % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(value) {
  if (typeof value !== 'number') return NONE;
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/* The beginning of a UUID; a short id as it is. */
export function shortId(id) {
  return id && id.length > 20 ? id.slice(0, 8) : id || NONE;
}

export function plural(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}
