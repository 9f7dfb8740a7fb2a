// The whole page. The library keeps the log of each room; this file draws it.
import { connect, webStore } from "./roomchat.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const secrets = new URLSearchParams(location.hash.slice(1));
const service = query.get("url") ?? "ws://127.0.0.1:3000/prod";
const counts = { connections: 0, resumed: 0, filled: 0, lost: 0 };
const views = new Map();
let chat;
let current;

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

function start(user) {
  const token = secrets.get("token");
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
  $("app").hidden = false;
  const rooms = JSON.parse(sessionStorage.getItem("rooms") ?? "[]");
  for (const name of new Set([...query.getAll("room"), ...rooms, "lobby"])) enter(name);
  open(views.keys().next().value);
}

function enter(name) {
  const room = chat.room(name);
  if (views.has(room.name)) return room.name;
  const view = { room, items: new Map(), more: true, people: [] };
  views.set(room.name, view);
  sessionStorage.setItem("rooms", JSON.stringify([...views.keys()]));
  let entered = false;
  room.on("joined", ({ recovered, first, head }) => {
    view.more = first <= head;
    if (entered && recovered) happened(`${name}: resumed, nothing lost`, "resumed");
    entered = true;
    setTimeout(look, 300);
  });
  room.on("filled", ({ count }) => happened(`${name}: ${plural(count, "missing message")} fetched`, "filled"));
  room.on("lost", ({ missing }) =>
    happened(`${name}: ${missing === undefined ? "messages" : plural(missing, "message")} lost`, "lost", missing ?? 1),
  );
  const look = () =>
    room.members().then(
      ({ members }) => {
        view.people = members;
        draw(view);
      },
      () => undefined, // Not connected: the next look comes soon.
    );
  setInterval(() => document.hidden || room.state !== "live" || look(), 20_000);
  room.subscribe(() => draw(view));
  drawRooms();
  return room.name;
}

function open(name) {
  current = views.get(name);
  $("title").textContent = name;
  $("messages").replaceChildren();
  current.items.clear();
  document.title = `${name} · roomchat`;
  draw(current);
  $("scroll").scrollTop = $("scroll").scrollHeight;
  toggle("rooms-panel", "show-rooms", false);
}

function drawRooms() {
  $("rooms").replaceChildren(
    ...[...views].map(([name, { room }]) => {
      const button = element("button", { type: "button", onclick: () => open(name) }, element("span", { className: "name", textContent: name }));
      if (room === current?.room) button.setAttribute("aria-current", "true");
      if (room.unread) {
        button.append(element("span", { className: "badge", textContent: room.unread, ariaHidden: "true" }));
        button.append(element("span", { className: "hidden", textContent: `${room.unread} unread` }));
      }
      return element("li", {}, button);
    }),
  );
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
    const names = view.room.typists;
    $("typing").textContent = names.length ? `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…` : "";
    $("count").textContent = view.people.length || "";
    $("people").replaceChildren(
      ...view.people.map(({ user, connections }) =>
        element("li", {}, avatar(user), user, element("small", { textContent: connections > 1 ? `${connections} devices` : "" })),
      ),
    );
  }
  drawRooms();
}

function drawMessages({ room, items, more }) {
  const { messages } = room;
  const scroll = $("scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
  const kept = new Set();
  let place = $("messages").firstElementChild;
  let before;
  const put = (key, version, make) => {
    kept.add(key);
    let item = items.get(key);
    if (item?.version !== version) {
      const node = make();
      if (item?.node === place) place = place?.nextElementSibling ?? null;
      item?.node.remove();
      items.set(key, (item = { node, version }));
    }
    if (item.node === place) place = place.nextElementSibling;
    else $("messages").insertBefore(item.node, place);
    return item.node;
  };
  for (const message of messages) {
    if (message.lost) {
      const { missing } = message.lost;
      const text = `${missing === undefined ? "Messages" : plural(missing, "message")} lost: no longer in the log`;
      put(`hole ${message.key}`, text, () => element("li", { className: "hole", textContent: text }));
      before = undefined;
    }
    const follows = before?.from === message.from && message.at - before.at < 300_000;
    const version = `${message.status} ${follows}`;
    put(message.key, version, () => item(room, message, follows));
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

function item(room, { id, from, data, at, status, error }, follows) {
  const own = from === chat.user;
  const text = typeof data === "string" ? data : (data?.text ?? JSON.stringify(data));
  const body = element("div", { className: "body" }, element("div", { className: "bubble", textContent: text }));
  if (status === "pending") body.append(element("p", { className: "note", textContent: "sending…" }));
  if (status === "failed") {
    const again = () => {
      room.discard(id);
      room.send(data);
    };
    body.append(
      element(
        "p",
        { className: "note" },
        `not sent: ${error.message} `,
        element("button", { type: "button", textContent: "Try again", onclick: again }),
        element("button", { type: "button", textContent: "Discard", onclick: () => room.discard(id) }),
      ),
    );
  }
  const head = element("p", { className: "head" }, element("span", { className: "from", textContent: from }), clock(at));
  const content = element("div", { className: "body" }, head, ...body.childNodes);
  const classes = ["message", status, own ? "own" : "", follows ? "follows" : ""];
  return element("li", { className: classes.join(" ").trim() }, avatar(from), content);
}

function toggle(panel, button, open = !$(panel).classList.contains("open")) {
  $(panel).classList.toggle("open", open);
  $(button).setAttribute("aria-expanded", open);
}

$("show-rooms").onclick = () => toggle("rooms-panel", "show-rooms");
$("show-details").onclick = () => toggle("details", "show-details");
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
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
  current.room.send({ text });
  $("text").value = "";
  $("scroll").scrollTop = $("scroll").scrollHeight;
};
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
    start(user);
    sessionStorage.setItem("user", user);
  } catch (error) {
    event.preventDefault();
    $("refused").textContent = error.message;
  }
};
if (known) start(known);
else $("welcome").showModal();
