// The whole page. The library keeps the log of each room; this file draws it.
import { connect, conversations, presence, webStore } from "./roomchat.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const secrets = new URLSearchParams(location.hash.slice(1));
const service = query.get("url") ?? document.querySelector("meta[name=service]").content;
const REACTIONS = ["👍", "❤️", "😄", "🎉"];
const counts = { connections: 0, resumed: 0, filled: 0, lost: 0 };
const views = new Map();
let chat;
let current;
let verified = false;
/** The message that is being edited. */
let editing;

function element(name, fields = {}, ...children) {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
}

function avatar(user) {
  let hue = 0;
  for (const letter of user) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  const made = element("span", { className: "avatar", ariaHidden: "true", textContent: [...user][0].toUpperCase() });
  made.style.setProperty("--hue", hue);
  return made;
}

function clock(at, seconds) {
  const options = { hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) };
  const date = new Date(at);
  return element("time", { dateTime: date.toISOString(), textContent: date.toLocaleTimeString([], options) });
}

// The events of the connection, which other chats do not show.

function happened(text, count, by = 1) {
  if (count) $(count).textContent = counts[count] += by;
  $("events").prepend(element("li", {}, clock(Date.now(), true), text));
  while ($("events").children.length > 30) $("events").lastChild.remove();
}

const plural = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function start(user, token = secrets.get("token")) {
  verified = Boolean(token);
  chat = connect(service, {
    user: token ? undefined : user,
    store: webStore(sessionStorage, `${service} ${user}`),
    live: true,
    ...(token && { getToken: (why) => (why === "refused" ? null : token) }),
  });
  chat.on("connected", ({ renewed }) => happened(renewed ? "Connection renewed, without a pause" : "Connected", "connections"));
  chat.on("disconnected", ({ reason, retryInMs }) =>
    happened(`Disconnected: ${reason}${retryInMs === undefined ? "" : `; next try in ${(retryInMs / 1000).toFixed(1)} s`}`),
  );
  chat.on("error", (error) => happened(error.message));
  chat.on("state", drawState);
  // Somebody writes to this user for the first time since the page was opened.
  chat.on("direct", ({ user }) => enter(chat.to(user).name));
  $("app").hidden = false;
  const rooms = JSON.parse(sessionStorage.getItem("rooms") ?? "[]");
  for (const name of new Set([...query.getAll("room"), ...rooms, "lobby"])) enter(name);
  open(views.keys().next().value);
}

function enter(name) {
  const room = chat.room(name);
  if (views.has(room.name)) return room.name;
  const here = presence(room);
  const view = { room, here, items: new Map(), more: true };
  views.set(room.name, view);
  sessionStorage.setItem("rooms", JSON.stringify([...views.keys()].filter((name) => !name.startsWith("@"))));
  let entered = false;
  room.on("joined", ({ recovered, first, head }) => {
    view.more = first <= head;
    if (entered && recovered) happened(`${label(room)}: resumed, nothing lost`, "resumed");
    entered = true;
    if (verified && name === "lobby") conversations(chat).then((users) => users.slice(0, 20).forEach((user) => enter(chat.to(user).name)), ignore);
  });
  room.on("filled", ({ count }) => happened(`${label(room)}: ${plural(count, "missing message")} fetched`, "filled"));
  room.on("lost", ({ missing }) =>
    happened(`${label(room)}: ${missing === undefined ? "messages" : plural(missing, "message")} lost`, "lost", missing ?? 1),
  );
  room.subscribe(() => draw(view));
  here.subscribe(() => draw(view));
  drawRooms();
  return room.name;
}

const ignore = () => undefined;

/** Returns the name of the other user in a room of two. */
const partner = ({ name }) => name.startsWith("@") && name.slice(1).split("&").find((user) => user !== chat.user);

const label = (room) => partner(room) || room.name;

function open(name) {
  current = views.get(name);
  edit();
  $("title").textContent = label(current.room);
  $("title").classList.toggle("pair", Boolean(partner(current.room)));
  $("messages").replaceChildren();
  current.items.clear();
  document.title = `${label(current.room)} · roomchat`;
  draw(current);
  $("scroll").scrollTop = $("scroll").scrollHeight;
  toggle("rooms-panel", "show-rooms", false);
}

function drawRooms() {
  const list = (pairs) =>
    [...views].filter(([name]) => name.startsWith("@") === pairs).map(([name, { room }]) => {
      const button = element("button", { type: "button", onclick: () => open(name) }, element("span", { className: "name", textContent: label(room) }));
      if (room === current?.room) button.setAttribute("aria-current", "true");
      if (room.unread) {
        button.append(element("span", { className: "badge", textContent: room.unread, ariaHidden: "true" }));
        button.append(element("span", { className: "hidden", textContent: `${room.unread} unread` }));
      }
      return element("li", {}, button);
    });
  $("rooms").replaceChildren(...list(false));
  $("pairs").replaceChildren(...list(true));
  $("pairs-title").hidden = !$("pairs").children.length;
}

function drawState() {
  $("me").textContent = chat.user;
  $("me-avatar").replaceWith(Object.assign(avatar(chat.user), { id: "me-avatar" }));
  const words = {
    connecting: "Connecting…",
    offline: "Offline: trying again",
    closed: `Closed: ${chat.reason}`,
    joining: "Joining…",
    behind: "Catching up…",
    live: "Live",
    denied: "You may not join this room",
  };
  const state = chat.state === "online" ? current.room.state : chat.state;
  if ($("state").dataset.state === state) return;
  $("state").dataset.state = state;
  $("state").textContent = words[state] ?? state;
}

function draw(view) {
  if (view === current) {
    if (!document.hidden) view.room.mark();
    drawState();
    drawMessages(view);
    const { users, count } = view.here;
    const names = view.room.typists;
    $("typing").textContent = names.length ? `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…` : "";
    $("count").textContent = count ?? users.length + 1;
    const sorted = [...users].sort((a, b) => a.user.localeCompare(b.user));
    $("people").replaceChildren(person({ user: chat.user }, "you"), ...sorted.map((user) => person(user)));
  }
  drawRooms();
}

function person({ user, name = user, state }, note = state?.status) {
  const content = [avatar(user), element("span", { className: "name", textContent: name })];
  if (note) content.push(element("small", { textContent: note }));
  if (!verified || user === chat.user) return element("li", {}, ...content);
  const write = () => {
    open(enter(chat.to(user).name));
    $("text").focus();
  };
  return element("li", {}, element("button", { type: "button", title: `Write to ${name}`, onclick: write }, ...content));
}

function drawMessages({ room, items, more }) {
  const { messages } = room;
  const scroll = $("scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
  const kept = new Set();
  let place = $("messages").firstElementChild;
  let before;
  const put = (key, message, follows, make) => {
    kept.add(key);
    let item = items.get(key);
    // Messages never change: an edit, a reaction or an ack makes a new object.
    if (item?.message !== message || item.follows !== follows) {
      const focused = item?.node.contains(document.activeElement) && document.activeElement.dataset.name;
      const opened = item?.node.querySelector(".menu:not([hidden])");
      const node = make();
      if (item?.node === place) place = place?.nextElementSibling ?? null;
      item?.node.remove();
      // The actions stay open while others change the message.
      if (opened) node.querySelector(".more")?.click();
      items.set(key, (item = { node, message, follows, focused }));
    }
    if (item.node === place) place = place.nextElementSibling;
    else $("messages").insertBefore(item.node, place);
    if (item.focused) item.node.querySelector(`[data-name="${item.focused}"]`)?.focus();
    delete item.focused;
  };
  for (const message of messages) {
    if (message.lost) {
      const { missing } = message.lost;
      const text = `${missing === undefined ? "Messages" : plural(missing, "message")} lost: no longer in the log`;
      put(`hole ${message.key}`, text, false, () => element("li", { className: "hole", textContent: text }));
      before = undefined;
    }
    const follows = before?.from === message.from && message.at - before.at < 300_000;
    put(message.key, message, follows, () => item(room, message, follows));
    before = message;
  }
  for (const [key, { node }] of items) {
    if (kept.has(key)) continue;
    node.remove();
    items.delete(key);
  }
  $("older").hidden = !more || !messages.length || (messages[0].seq ?? 1) === 1;
  $("empty").hidden = messages.length > 0 || room.state === "joining";
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

const words = (data) => (typeof data === "string" ? data : (data?.text ?? JSON.stringify(data)));

function item(room, message, follows) {
  const { id, seq, from, data, at, status, error, edited, deleted, reactions = {} } = message;
  const own = from === chat.user;
  const head = element("p", { className: "head" }, element("span", { className: "from", textContent: from }), clock(at));
  const gone = deleted && `Deleted${deleted.by === from ? "" : ` by ${deleted.by}`}${deleted.reason ? `: ${deleted.reason}` : ""}`;
  const bubble = element("div", { className: gone ? "bubble gone" : "bubble", textContent: gone || words(data) });
  const line = element("div", { className: "line" }, bubble);
  if (seq && !gone) line.append(actions(room, message, own));
  const content = element("div", { className: "body" }, head, line);
  if (edited && !gone) content.append(element("p", { className: "note", textContent: "edited" }));
  const chips = Object.entries(reactions).map(([key, { count, mine }]) => reaction(room, message, key, mine, `${key} ${count}`));
  if (chips.length) content.append(element("div", { className: "reactions" }, ...chips));
  if (status === "pending") content.append(element("p", { className: "note", textContent: "sending…" }));
  if (status === "failed") {
    const again = () => {
      room.discard(id);
      room.send(data);
    };
    content.append(
      element(
        "p",
        { className: "note" },
        `not sent: ${error.message} `,
        element("button", { type: "button", textContent: "Try again", onclick: again }),
        element("button", { type: "button", textContent: "Discard", onclick: () => room.discard(id) }),
      ),
    );
  }
  const classes = ["message", status, own ? "own" : "", follows ? "follows" : ""];
  return element("li", { className: classes.join(" ").trim() }, avatar(from), content);
}

function tell(change) {
  change.catch((error) => happened(error.message));
}

function reaction(room, { seq, reactions }, key, mine, text) {
  const button = element("button", { type: "button", textContent: text, onclick: () => tell(room.react(seq, key, !mine)) });
  button.dataset.name = `react ${key}`;
  button.setAttribute("aria-pressed", mine);
  button.setAttribute("aria-label", `${key}, ${plural(reactions?.[key]?.count ?? 0, "reaction")}`);
  return button;
}

/** Returns the button of a message that opens its actions. */
function actions(room, message, own) {
  const { seq, from, reactions } = message;
  const menu = element("span", { className: "menu", hidden: true });
  menu.setAttribute("role", "group");
  menu.setAttribute("aria-label", "Actions");
  for (const key of REACTIONS) menu.append(reaction(room, message, key, reactions?.[key]?.mine ?? false, key));
  if (own) {
    menu.append(element("button", { type: "button", textContent: "Edit", onclick: () => edit(message) }));
    menu.append(element("button", { type: "button", textContent: "Delete", onclick: () => tell(room.remove(seq)) }));
  }
  const more = element("button", { type: "button", className: "more", textContent: "⋯" });
  more.dataset.name = "more";
  more.setAttribute("aria-label", `Actions for the message of ${from}`);
  more.setAttribute("aria-expanded", "false");
  const show = (open) => {
    menu.hidden = !open;
    more.setAttribute("aria-expanded", open);
  };
  more.onclick = () => show(menu.hidden);
  // One action closes them.
  menu.onclick = () => show(false);
  return element("span", { className: "actions" }, more, menu);
}

/** Takes a message into the field to edit it, or with none ends that. */
function edit(message) {
  if (!message && !editing) return;
  editing = message;
  $("editing").hidden = !message;
  $("text").value = message ? words(message.data) : "";
  if (message) $("text").focus();
}

function toggle(panel, button, open = !$(panel).classList.contains("open")) {
  $(panel).classList.toggle("open", open);
  $(button).setAttribute("aria-expanded", open);
}

$("show-rooms").onclick = () => toggle("rooms-panel", "show-rooms");
$("show-details").onclick = () => toggle("details", "show-details");
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  edit();
  toggle("rooms-panel", "show-rooms", false);
  toggle("details", "show-details", false);
});
document.addEventListener("visibilitychange", () => current && draw(current));

$("older").onclick = async () => {
  const { scrollHeight, scrollTop } = $("scroll");
  const view = current;
  view.more = await view.room.older().catch(() => true);
  if (view !== current) return;
  draw(view);
  $("scroll").scrollTop = scrollTop + $("scroll").scrollHeight - scrollHeight;
};

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  if (editing) {
    tell(current.room.edit(editing.seq, { text }));
    current.room.signal("stopped");
    edit();
  } else current.room.send({ text });
  $("text").value = "";
  $("scroll").scrollTop = $("scroll").scrollHeight;
};
$("stop-editing").onclick = () => edit();
$("text").oninput = () => current.room.typing();
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};

$("join").onsubmit = (event) => {
  event.preventDefault();
  try {
    open(enter($("join-name").value.trim()));
    $("join-name").value = "";
    $("text").focus();
  } catch (error) {
    $("join-name").setCustomValidity(error.message);
    $("join-name").reportValidity();
  }
};
$("join-name").oninput = () => $("join-name").setCustomValidity("");

const known = secrets.has("token") ? "me" : (query.get("user") ?? sessionStorage.getItem("user"));
$("enter").onsubmit = (event) => {
  const user = $("user").value.trim();
  try {
    start(user, $("token").value.trim() || undefined);
    sessionStorage.setItem("user", user);
  } catch (error) {
    event.preventDefault();
    $("refused").textContent = error.message;
  }
};
if (known) start(known);
else $("welcome").showModal();
