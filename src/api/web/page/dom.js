// Makes elements. Whatever comes from outside becomes text, never markup.

/** An element with attributes, properties that start with "on" as listeners, and children (texts or nodes). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value === 'boolean') node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/**
 * Puts new content in the place of the old, keeping focus and scroll where an element of the same `id` or
 * `href` is there again: the page is drawn anew while people use it.
 */
export function replace(parent, ...children) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  const href = active?.getAttribute('href');
  const id = active?.id;
  const isTyped = active instanceof HTMLInputElement;
  const typed = isTyped ? [active.value, active.selectionStart, active.selectionEnd] : null;
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (!active) return;
  const same = id ? document.getElementById(id)
    : href && [...parent.querySelectorAll('a')].find((link) => link.getAttribute('href') === href);
  same?.focus({ preventScroll: true });
  if (typed && same instanceof HTMLInputElement) {
    same.value = typed[0];
    same.setSelectionRange(typed[1], typed[2]);
  }
}

/** A table with a caption for screen readers; cells carry their column's name for narrow screens. */
export function table(caption, columns, rows) {
  const head = el('tr', {}, columns.map((column) => el('th', { scope: 'col', class: column.class }, column.title)));
  const body = rows.map((cells) => el('tr', {}, cells.map((cell, index) =>
    el('td', { 'data-title': columns[index].title, class: columns[index].class }, cell ?? ''))));
  return el('table', {}, el('caption', { class: 'hidden' }, caption), el('thead', {}, head), el('tbody', {}, body));
}

/** A bar of a share from 0 to 1, with a mark where the entitlement is known. */
export function bar(share, due, label) {
  const fill = el('span', { class: due !== null && due !== undefined && share > due * 1.05 ? 'fill above' : 'fill' });
  fill.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
  const track = el('span', { class: 'bar', role: 'img', 'aria-label': label, title: label }, fill);
  if (due !== null && due !== undefined) {
    const mark = el('span', { class: 'due' });
    mark.style.left = `${Math.min(100, Math.max(0, due * 100))}%`;
    track.append(mark);
  }
  return track;
}

/** The word of a state with its colour. */
export function state(word) {
  return el('span', { class: `state ${word}` }, word);
}

/** What stands where nothing is to be shown, or something went wrong. */
export function notice(text, kind = '') {
  return el('p', { class: `notice ${kind}`, role: kind === 'error' ? 'alert' : null }, text);
}
