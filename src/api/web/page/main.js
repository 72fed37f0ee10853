// The page's frame: which view is shown, when it is drawn anew, and the keys.

import { notice, replace } from './dom.js';
import { Live } from './live.js';
import { AgentsView, ResourcesView } from './cluster.js';
import './door.js';
import { QueuesView } from './queues.js';
import { TasksView } from './tasks.js';
import { TaskView } from './task.js';

const place = document.getElementById('view');
const link = document.getElementById('link');
const VIEWS = ['queues', 'tasks', 'agents', 'resources'];

let view = null;
let isBusy = false;
let isWanted = false;

/** The view that an address means: #/tasks?state=queued, #/tasks/7, and so on. */
function open() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/');
  const parameters = new URLSearchParams(query ?? '');
  const before = view;
  before?.close?.();
  if (name === 'tasks' && /^[1-9]\d*$/.test(id ?? '')) view = new TaskView(id, refresh);
  else if (name === 'tasks') view = new TasksView(parameters, refresh);
  else if (name === 'agents') view = new AgentsView();
  else if (name === 'resources') view = new ResourcesView();
  else view = new QueuesView(parameters, refresh);
  live.concerns = (event) => view.concerns?.(event) ?? true;
  document.title = `${view.title} – Apportion`;
  for (const item of document.querySelectorAll('nav a')) {
    if (item.dataset.view === (VIEWS.includes(name) ? name : 'queues')) item.setAttribute('aria-current', 'page');
    else item.removeAttribute('aria-current');
  }
  if (view.constructor !== before?.constructor || view instanceof TaskView) {
    place.replaceChildren(notice('Loading…'));
    window.scrollTo(0, 0);
  }
  isBusy = false;
  live.now();
}

/** Reads what the view shows and draws it. One at a time: a slow server isn't asked twice at once. */
async function refresh() {
  if (isBusy) { isWanted = true; return; }
  isBusy = true;
  isWanted = false;
  const shown = view;
  try {
    await shown.load();
    if (shown === view) shown.draw(place);
  } catch (error) {
    if (shown === view && error.name !== 'AbortError') replace(place, notice(error.message, 'error'));
  } finally {
    if (shown === view) {
      isBusy = false;
      if (isWanted) refresh();
    }
  }
}

function move(step) {
  const rows = [...place.querySelectorAll('[data-row]')];
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement);
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
  rows[next].focus();
}

document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest?.('input, select, textarea, dialog');
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (VIEWS[Number(event.key) - 1]) location.hash = `#/${VIEWS[Number(event.key) - 1]}`;
  else if (event.key === '/') { event.preventDefault(); place.querySelector('input[type=search]')?.focus(); }
  else if (event.key === 'j') move(1);
  else if (event.key === 'k') move(-1);
});

const live = new Live(refresh, (kind, text) => { link.className = `link ${kind}`; link.textContent = text; });
window.addEventListener('hashchange', open);
open();
