/**
 * Keeps the parts of the page that change up to date. Without it the page reads the same, and is loaded again by hand.
 * `data-live` names the address of a part; it is asked for when the server says that a task has changed (/ui/events), and by
 * the clock: seldom, or every second or so where there are no such events. `data-live-after` is asked for when a task has ended.
 */
const busyInterval = 1000;
const idleInterval = 3000;
/** While events come: for the ages that the page shows, and in case one got lost. */
const quietInterval = 15_000;

const news = document.getElementById('news');
const parts = document.querySelectorAll('[data-live]');
const waiting = new Set();
let events = null;
let changes = 0;

function wake() {
  changes += 1;
  for (const part of [...waiting]) part();
}

/** A hidden page listens to nothing: browsers open six connections to a server at most, for all of its pages. */
function listen() {
  if (document.hidden) {
    events?.close();
    events = null;
  } else if (events === null) {
    events = new EventSource('/ui/events');
    events.addEventListener('changed', wake);
    // What happened before it was open was not told; while it is closed, the clock decides.
    events.addEventListener('open', wake);
    events.addEventListener('error', wake);
  }
  wake();
}

if (parts.length > 0) {
  document.addEventListener('visibilitychange', listen);
  listen();
}
for (const part of parts) keepLive(part);

async function keepLive(part) {
  let seen = changes;
  for (;;) {
    if (seen === changes) await nextTurn(part);
    seen = changes;
    if (document.hidden) continue;
    const before = statuses(part);
    if (!(await update(part, part.dataset.live))) {
      events?.close();
      return;
    }
    if (announce(before, statuses(part))) {
      for (const other of document.querySelectorAll('[data-live-after]')) await update(other, other.dataset.liveAfter);
    }
  }
}

/** Resolves when something has changed, or it is time to look. */
function nextTurn(part) {
  const busy = part.querySelector('[data-status="queued"], [data-status="running"]') !== null;
  const polling = busy ? busyInterval : idleInterval;
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      waiting.delete(end);
      resolve();
    };
    const timer = setTimeout(end, events?.readyState === EventSource.OPEN ? quietInterval : polling);
    waiting.add(end);
  });
}

/** False when the session is over: the next thing the visitor does leads to the log-in. */
async function update(part, address) {
  try {
    const response = await fetch(address, { redirect: 'manual' });
    if (response.type === 'opaqueredirect' || response.status === 401) return false;
    if (!response.ok) return true;
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html').body;
    morphChildren(part, fresh);
    const count = part.parentElement.querySelector('.count');
    if (count !== null) count.textContent = String(part.querySelectorAll('tbody tr').length);
  } catch {
    // The server is away for a moment; the page stays as it is.
  }
  return true;
}

function statuses(part) {
  const tasks = [...part.querySelectorAll('[data-status]')];
  return new Map(tasks.map((task) => [task.dataset.key, { status: task.dataset.status, title: task.dataset.title }]));
}

/** Tells screen readers what has begun or ended, not every byte. True when a task has ended. */
function announce(before, after) {
  const changed = [...after].filter(([key, task]) => before.get(key)?.status !== task.status).map(([, task]) => task);
  if (changed.length > 0) news.textContent = changed.map(({ title, status }) => `${title}: ${status}`).join('. ');
  return changed.some(({ status }) => status !== 'queued' && status !== 'running');
}

/** Makes the children like the fresh ones, keeping every element that can stay: so focus and selection stay, too. */
function morphChildren(part, fresh) {
  const keyed = new Map(
    [...part.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]),
  );
  let place = part.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.dataset?.key ? keyed.get(wanted.dataset.key) : undefined;
    if (known !== undefined && known !== place) part.insertBefore(known, place);
    const present = known ?? place;
    if (present === null) part.append(wanted);
    else if (isAlike(present, wanted)) {
      morph(present, wanted);
      place = present.nextSibling;
    } else part.insertBefore(wanted, present);
  }
  while (place !== null) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function isAlike(present, wanted) {
  return present.nodeName === wanted.nodeName && present.dataset?.key === wanted.dataset?.key;
}

function morph(present, wanted) {
  if (present.isEqualNode(wanted)) return;
  if (present.nodeType !== Node.ELEMENT_NODE) {
    present.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...present.attributes]) if (!wanted.hasAttribute(name)) present.removeAttribute(name);
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  morphChildren(present, wanted);
}
