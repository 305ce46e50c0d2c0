/* Elements without markup: what comes from outside only ever becomes text or an attribute. */

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

/* Replace what is in `node`, unless it says the same already: a reader's place stays. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/* A function that runs `work` once, `ms` after the first of its calls; not after `signal`. */
export function later(work, ms, signal) {
  let timer = 0;
  signal.addEventListener('abort', () => clearTimeout(timer));
  return () => {
    if (signal.aborted) return;
    timer ||= setTimeout(() => {
      timer = 0;
      work();
    }, ms);
  };
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
