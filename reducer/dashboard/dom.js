/* Elements without markup: what comes from outside only ever becomes text or an attribute. */
import { quietly } from './api.js';

/* h('a', {href, class, onclick}, 'text', node, …). null, undefined and false are left out. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/* Replace what is in `node`. The link in it that has the focus gives it to the one that leads to the
 * same place, where there still is one: a reader's place stays. */
export function fill(node, ...children) {
  const { activeElement } = document;
  const focused = activeElement && node.contains(activeElement) ? activeElement.href : null;
  node.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  if (focused) {
    [...node.querySelectorAll('a')].find((a) => a.href === focused)?.focus({ preventScroll: true });
  }
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/* A function that runs `work` once, `ms` after the first of its calls, quietly; not after `signal`.
 * Work that takes longer is not overtaken: it is done once more when it has ended. */
export function later(work, ms, signal) {
  let timer = 0;
  let isRunning = false;
  let isWanted = false;
  const run = async () => {
    timer = 0;
    isRunning = true;
    try {
      await work();
    } finally {
      isRunning = false;
      if (isWanted) call();
    }
  };
  const call = () => {
    isWanted = isRunning;
    if (!isRunning && !signal.aborted) timer ||= setTimeout(() => quietly(run()), ms);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  return call;
}

/* A function that runs `work` once in the next frame, however often it is called before. In a tab
 * nobody sees there are no frames: a timer stands in, so that what is read later is right. */
export function soon(work) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    const run = () => {
      isWaiting = false;
      work();
    };
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}
