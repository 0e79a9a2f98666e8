"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const {facts, chart, sources} = data;
  const odd = new Set(chart.odd);
  const PAGE = 100;
  const RANK = {critical: 4, high: 3, medium: 2, low: 1};
  const get = id => document.getElementById(id);
  const whole = new Intl.NumberFormat("en-US");
  const count = (number, one, many) => `${whole.format(number)} ${number === 1 ? one : many}`;
  const figure = value => value === null ? "" : Number(value.toPrecision(4)).toString();
  const stamp = seconds => new Date(seconds * 1000).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, "");
  const place = x => x === null ? "" : data.timed ? stamp(x).slice(0, 19) : whole.format(x);

  // texts of logs enter the page here and nowhere else: as text
  function make(name, text, classes) {
    const element = document.createElement(name);
    if (text !== undefined && text !== "") element.textContent = text;
    if (classes) element.className = classes;
    return element;
  }

  function duration(seconds) {
    const units = [[86400, "day", "days"], [3600, "hour", "hours"], [60, "minute", "minutes"], [1, "second", "seconds"]];
    const [size, one, many] = units.find(([size]) => seconds >= size) || units[3];
    return count(Math.round(seconds / size), one, many);
  }

  // ---- what was read

  function showFacts() {
    const noun = {line: "Lines", session: "Streams", alert: "Alerts"}[data.scope];
    const add = (name, value, classes) => {
      const box = make("div", "", classes);
      box.append(make("dt", name), make("dd", value));
      get("facts").append(box);
    };
    if (data.scope !== "alert") add(noun, whole.format(facts.rows));
    const part = facts.rows ? facts.odd / facts.rows : 0;
    const share = data.scope === "alert" || !facts.odd ? "" : ` (${part < 0.0001 ? "<0.01" : (part * 100).toFixed(2)}%)`;
    add(data.scope === "alert" ? "Alerts" : "Odd", whole.format(facts.odd) + share, facts.odd ? "alarm" : "");
    if (data.scope !== "alert") {
      add("Scored", whole.format(facts.scored));
      add("Warming up, no score", whole.format(facts.warming));
    }
    add("Highest score", facts.highest === null ? "none" : figure(facts.highest));
    add("Sources", whole.format(facts.sources));
    if (data.scope !== "session") add("Streams", whole.format(facts.streams));
    if (facts.first !== null) {
      if (facts.untimed) add("Without a time", whole.format(facts.untimed));
      add("Time span", duration(facts.last - facts.first));
      add("From – to (UTC)", `${stamp(facts.first).slice(0, 19)} – ${stamp(facts.last).slice(0, 19)}`, "wide");
    }
    const notes = data.notes.length ? data.notes : ["Everything in the file was read and is shown; no line of it was damaged."];
    for (const note of notes) get("notes").append(make("li", note[0].toUpperCase() + note.slice(1) + (note.endsWith(".") ? "" : ".")));
    const names = sources.slice(0, 3).join(", ") + (sources.length > 3 ? ` and ${count(sources.length - 3, "more", "more")}` : "");
    get("subtitle").textContent = {line: "Scores of ", session: "Scores by stream of ", alert: "Alerts of "}[data.scope] + names;
  }

  // ---- light and dark

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  let theme = null;
  function paint() {
    const now = theme || (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now;
    get("theme").textContent = now === "dark" ? "Light" : "Dark";
    get("theme").setAttribute("aria-label", `Switch to ${now === "dark" ? "light" : "dark"} colours`);
    if (plot) draw();
  }
  get("theme").addEventListener("click", () => {
    theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    paint();
  });
  dark.addEventListener("change", paint);

  // ---- the timeline

  let plot = null;
  let view = null;
  let squeezed = false;
  const full = chart.x.length ? [chart.x[0], chart.x[chart.x.length - 1]] : [0, 1];
  if (full[0] === full[1]) { full[0] -= 1; full[1] += 1; }
  const margin = (full[1] - full[0]) * 0.01;
  full[0] -= margin; full[1] += margin;
  const limits = Array.isArray(chart.limit) ? chart.limit : chart.x.map(() => chart.limit);
  const columns = [chart.x, chart.score, limits, chart.score.map((score, index) => odd.has(index) ? score : null)];

  function tip(u) {
    const box = get("tip"), index = u.cursor.idx;
    const inside = index !== null && index !== undefined && u.cursor.left >= 0;
    box.hidden = get("dot").hidden = !inside;
    if (!inside) return;
    const near = nearest(u, index);
    const score = chart.score[near];
    box.replaceChildren(
      make("b", data.scope === "session" ? `${sources[chart.source[near]]}, stream from line ${whole.format(chart.line[near])}`
        : `${sources[chart.source[near]]}, line ${whole.format(chart.line[near])}`),
      make("span", `score ${figure(score)}${limits[near] === null ? "" : `, threshold ${figure(limits[near])}`}`, odd.has(near) ? "odd" : ""),
    );
    if (data.timed) box.append(make("div", `${place(chart.x[near])} UTC`));
    const alert = odd.has(near) ? byPlace.get(`${chart.source[near]} ${chart.line[near]}`) : null;
    if (alert && alert.message) box.append(make("div", alert.message.slice(0, 160)));
    const left = u.valToPos(chart.x[near], "x") + u.bbox.left / devicePixelRatio;
    const width = get("chart").clientWidth;
    get("dot").style.left = `${left}px`;
    get("dot").style.top = `${u.valToPos(score, "y") + u.bbox.top / devicePixelRatio}px`;
    box.style.top = "8px";
    box.style.left = left < width / 2 ? `${left + 14}px` : "auto";
    box.style.right = left < width / 2 ? "auto" : `${width - left + 14}px`;
  }

  // an odd line within a few pixels is what a pointer means
  function nearest(u, index) {
    const left = u.cursor.left, reach = 12;
    let best = index, distance = reach;
    for (let step = -1; step <= 1; step += 2) {
      for (let at = index; at >= 0 && at < chart.x.length; at += step) {
        const away = Math.abs(u.valToPos(chart.x[at], "x") - left);
        if (away > reach) break;
        if (odd.has(at) && away < distance) { best = at; distance = away; }
      }
    }
    return best;
  }

  function clock(u, ticks, axis, space, step) {
    let day = "";
    return ticks.map(tick => {
      if (tick === null) return "";
      const text = stamp(tick), date = text.slice(0, 10);
      if (step >= 86400) return date;
      const time = step >= 60 ? text.slice(11, 16) : step >= 1 ? text.slice(11, 19) : text.slice(11);
      const line = date === day ? time : `${time}\n${date}`;
      day = date;
      return line;
    });
  }

  function draw() {
    if (plot) plot.destroy();
    const grid = {stroke: color("line"), width: 1}, axis = {stroke: color("soft"), grid, ticks: grid, font: "12px system-ui, sans-serif"};
    const dense = chart.x.length > 3000, crowd = chart.odd.length > 600;
    plot = new uPlot({
      width: get("chart").clientWidth,
      height: window.innerWidth < 720 ? 240 : 300,
      legend: {show: false},
      cursor: {y: false, drag: {x: true, y: false, setScale: false}, points: {show: false}},
      tzDate: seconds => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      scales: {
        x: {time: data.timed, range: () => view || full},
        y: {distr: squeezed ? 4 : 1, asinh: 1, range: (u, low, high) => {
          const top = Math.max(high || 1, typeof chart.limit === "number" ? chart.limit : 0);
          return [Math.min(0, low || 0), top * 1.08 || 1];
        }},
      },
      axes: [data.timed ? {...axis, space: 90, values: clock} : {...axis, space: 90, values: (u, ticks) => ticks.map(tick => tick % 1 ? "" : whole.format(tick))}, {...axis, size: 56, values: (u, ticks) => ticks.map(tick => tick === null ? "" : figure(tick))}],
      series: [
        {},
        {stroke: color("score"), width: dense ? 1 : 1.25, points: {size: 4, fill: color("score")}},
        {stroke: color("limit"), width: 1.5, dash: [6, 4], points: {show: false}, spanGaps: true},
        {stroke: color("odd"), width: 0, paths: () => null, points: {show: true, size: crowd ? 4 : 7, fill: color("odd"), stroke: crowd ? color("odd") : color("card"), width: 1}},
      ],
      hooks: {
        setCursor: [tip],
        setSelect: [u => {
          if (u.select.width < 4) return;
          zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
          u.setSelect({left: 0, width: 0, top: 0, height: 0}, false);
        }],
      },
    }, columns, get("chart"));
    plot.over.addEventListener("dblclick", () => zoom(...full));
    plot.over.addEventListener("mouseleave", () => { get("tip").hidden = get("dot").hidden = true; });
    plot.over.addEventListener("touchstart", touch, {passive: true});
    plot.over.addEventListener("touchmove", touch, {passive: true});
  }

  function touch(event) {
    const box = plot.over.getBoundingClientRect(), at = event.touches[0];
    plot.setCursor({left: at.clientX - box.left, top: at.clientY - box.top});
  }

  function zoom(low, high) {
    const most = full[1] - full[0], least = data.timed ? Math.min(1, most) : Math.min(4, most);
    const width = Math.min(Math.max(high - low, least), most);
    const start = Math.min(Math.max((low + high - width) / 2, full[0]), full[1] - width);
    view = width >= most * 0.9999 ? null : [start, start + width];
    plot.setScale("x", {min: (view || full)[0], max: (view || full)[1]});
    get("tip").hidden = get("dot").hidden = true;
    get("whole").disabled = !view;
    for (const id of ["wider", "earlier", "later"]) get(id).disabled = !view;
    refresh();
  }

  function move(scale, shift) {
    const [low, high] = view || full, middle = (low + high) / 2 + shift * (high - low), half = (high - low) / 2 * scale;
    zoom(middle - half, middle + half);
  }

  function startTimeline() {
    if (!chart.x.length) {
      get("timeline").hidden = true;
      return;
    }
    get("scored").hidden = data.scope === "alert";
    get("hint").textContent = `Drag over the timeline to zoom in, double-click to see it all; the alerts below follow. ` +
      (data.timed ? "Times are in UTC." : data.scope === "session" ? "From left to right: the streams in the order of their first lines."
        : "From left to right: the lines in the order of the file.");
    draw();
    get("closer").addEventListener("click", () => move(0.5, 0));
    get("wider").addEventListener("click", () => move(2, 0));
    get("earlier").addEventListener("click", () => move(1, -0.5));
    get("later").addEventListener("click", () => move(1, 0.5));
    get("whole").addEventListener("click", () => zoom(...full));
    get("squeeze").addEventListener("click", () => {
      squeezed = !squeezed;
      get("squeeze").setAttribute("aria-pressed", String(squeezed));
      draw();
    });
    for (const id of ["wider", "earlier", "later"]) get(id).disabled = true;
    new ResizeObserver(() => {
      const width = get("chart").clientWidth;
      if (width && Math.abs(width - plot.width) > 1) plot.setSize({width, height: plot.height});
    }).observe(get("chart"));
  }

  // ---- tables

  function header(table, fields, order, change) {
    const row = make("tr");
    for (const field of fields) {
      const cell = make("th", "", field.number && field.key !== "severity" ? "number" : ""), button = make("button", field.name);
      cell.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => {
        order.down = order.key === field.key ? !order.down : Boolean(field.number);
        order.key = field.key;
        change();
      });
      cell.append(button);
      row.append(cell);
    }
    table.tHead.append(row);
  }

  function mark(table, fields, order) {
    fields.forEach((field, index) => {
      const cell = table.tHead.rows[0].cells[index];
      if (order.key === field.key) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  function sorted(rows, order) {
    const value = row => order.key === "severity" ? RANK[row.severity] || 0 : row[order.key];
    const sign = order.down ? -1 : 1;
    return rows.slice().sort((one, other) => {
      const a = value(one), b = value(other);
      if (a === b) return one.number - other.number;
      if (a === null) return 1;
      if (b === null) return -1;
      return (a < b ? -1 : 1) * sign;
    });
  }

  // ---- the alerts

  const alerts = data.alerts;
  const byPlace = new Map();
  alerts.forEach((alert, number) => {
    alert.number = number;
    alert.where = data.scope === "session" ? alert.stream : alert.source;
    byPlace.set(`${sources.indexOf(alert.source)} ${alert.line}`, alert);
    alert.haystack = [alert.message, alert.why, alert.source, alert.stream, alert.program, alert.host,
      ...Object.values(alert.quotes), ...alert.context, ...Object.values(alert.fields)].join("\n").toLowerCase();
  });
  const told = key => alerts.some(alert => alert[key] !== "" && alert[key] !== null);
  const many = key => new Set(alerts.map(alert => alert[key])).size > 1;
  const alertFields = [
    {key: "x", name: data.timed ? "Time (UTC)" : "Place"},
    {key: "severity", name: "Severity", number: true, shown: told("severity")},
    {key: "score", name: "Score", number: true},
    {key: "count", name: "Times", number: true, shown: alerts.some(alert => alert.count > 1)},
    {key: "source", name: "Source", shown: many("source")},
    {key: "line", name: "Line", number: true},
    {key: "stream", name: "Stream", shown: told("stream")},
    {key: "program", name: "Program", shown: told("program")},
    {key: "message", name: "Message and reason"},
  ].filter(field => field.shown !== false);
  const alertOrder = {key: "score", down: true};
  const chosen = {};
  let shown = PAGE;

  function filters() {
    for (const [key, name] of [["severity", "severities"], ["source", "sources"], ["stream", "streams"], ["program", "programs"]]) {
      if (!told(key) || !many(key)) continue;
      const select = make("select"), values = [...new Set(alerts.map(alert => alert[key]))];
      select.id = `only-${key}`;
      select.setAttribute("aria-label", `Only one of the ${name}`);
      select.append(new Option(`All ${name}`, "*"));
      values.sort((a, b) => key === "severity" ? (RANK[b] || 0) - (RANK[a] || 0) : a < b ? -1 : 1);
      for (const value of values) select.append(new Option(value || "(none)", `=${value}`));
      select.addEventListener("change", () => {
        chosen[key] = select.value === "*" ? undefined : select.value.slice(1);
        refresh();
      });
      get("filters").append(select);
    }
    const order = make("select");
    order.id = "order";
    order.setAttribute("aria-label", "Order");
    for (const field of alertFields) order.append(new Option(`Order by ${field.name.toLowerCase()}`, field.key));
    order.value = alertOrder.key;
    order.addEventListener("change", () => {
      alertOrder.key = order.value;
      alertOrder.down = Boolean(alertFields.find(field => field.key === order.value).number);
      refresh();
    });
    get("filters").append(order);
    get("search").addEventListener("input", refresh);
  }

  function matching() {
    const words = get("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return alerts.filter(alert => words.every(word => alert.haystack.includes(word))
      && Object.entries(chosen).every(([key, value]) => value === undefined || alert[key] === value)
      && (!view || (alert.x !== null && alert.x >= view[0] && alert.x <= view[1])));
  }

  function refresh() {
    shown = PAGE;
    list();
  }

  function list() {
    const table = get("alerts"), found = sorted(matching(), alertOrder);
    mark(table, alertFields, alertOrder);
    get("order").value = alertOrder.key;
    table.tBodies[0].replaceChildren(...found.slice(0, shown).map(alertRow));
    if (!found.length) {
      const row = make("tr"), cell = make("td", alerts.length ? "No alert fits; change the search, the filters or the zoom." : "No line was odd.", "count");
      cell.colSpan = alertFields.length;
      row.append(cell);
      table.tBodies[0].append(row);
    }
    get("more").hidden = found.length <= shown;
    const total = facts.odd > alerts.length ? `the ${whole.format(alerts.length)} highest of ${whole.format(facts.odd)} alerts` : count(alerts.length, "alert", "alerts");
    const some = found.length === alerts.length ? total : `${whole.format(found.length)} of ${total}`;
    get("count").textContent = some + (view ? ", in the part of the timeline that is shown" : "");
  }

  function alertRow(alert) {
    const row = make("tr", "", "alert");
    row.tabIndex = 0;
    row.setAttribute("aria-expanded", "false");
    for (const field of alertFields) row.append(alertCell(alert, field));
    const toggle = () => {
      const open = row.getAttribute("aria-expanded") === "true";
      row.setAttribute("aria-expanded", String(!open));
      if (open) row.nextSibling.remove();
      else row.after(detail(alert));
    };
    row.addEventListener("click", () => { if (!String(getSelection())) toggle(); });
    row.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
    });
    return row;
  }

  function alertCell(alert, field) {
    const value = alert[field.key];
    if (field.key === "severity") {
      const cell = make("td");
      if (value) cell.append(make("span", value, `chip ${RANK[value] ? value : ""}`));
      return cell;
    }
    if (field.key === "message") {
      const cell = make("td", "", "text");
      cell.append(make("div", value || "(its text is not in the file; agent score --explain tells it)", value ? "message" : "why"));
      if (alert.why) cell.append(make("div", alert.why, "why"));
      return cell;
    }
    const text = field.key === "x" ? place(value) : field.key === "score" ? figure(value)
      : field.number ? whole.format(value) : value;
    const cell = make("td", text, field.number ? "number" : field.key === "x" ? "time" : "name");
    cell.dataset.name = field.name.toLowerCase();
    if (field.key === "x") cell.noWrap = true;
    return cell;
  }

  function detail(alert) {
    const row = make("tr", "", "detail"), cell = make("td"), facts = make("dl");
    cell.colSpan = alertFields.length;
    const add = (name, value) => { if (value) facts.append(make("dt", name), make("dd", value)); };
    add("reason", alert.why || "not told in this file");
    for (const [name, value] of Object.entries(alert.quotes)) add(name, value);
    add("score", `${figure(alert.score)}${alert.limit === null ? "" : `, threshold ${figure(alert.limit)}`}`);
    add("where", `${alert.source}, line ${whole.format(alert.line)}${alert.stream ? `, stream ${alert.stream}` : ""}`);
    add("host", alert.host);
    add("time", alert.time);
    if (alert.count > 1) add("repeats", `${whole.format(alert.count)} times in a row of repeats`);
    for (const [name, value] of Object.entries(alert.fields)) add(name, value);
    cell.append(facts);
    if (alert.context.length) {
      const text = make("pre");
      for (const line of alert.context) text.append(`${line}\n`);
      text.append(make("span", alert.message, "self"));
      cell.append(make("span", "The lines before it", "count"), text);
    } else if (alert.message) cell.append(make("pre", alert.message));
    if (alert.x !== null && chart.x.length) {
      const button = make("button", "Show in the timeline");
      button.type = "button";
      button.addEventListener("click", () => {
        const half = (full[1] - full[0]) / 200;
        zoom(alert.x - half, alert.x + half);
        get("timeline").scrollIntoView({behavior: "smooth"});
      });
      cell.append(button);
    }
    row.append(cell);
    return row;
  }

  // ---- the streams

  const streamFields = [
    {key: "source", name: "Source"},
    {key: "stream", name: "Stream", shown: data.streams.some(row => row.stream)},
    {key: "lines", name: {line: "Lines", session: "Streams", alert: "Alerts"}[data.scope], number: true},
    {key: "warming", name: "Warming up", number: true, shown: data.scope !== "alert"},
    {key: "odd", name: "Odd", number: true, shown: data.scope !== "alert"},
    {key: "highest", name: "Highest score", number: true},
    {key: "first", name: "First (UTC)", shown: facts.first !== null},
    {key: "last", name: "Last (UTC)", shown: facts.first !== null},
  ].filter(field => field.shown !== false);
  const streamOrder = {key: data.scope === "alert" ? "lines" : "odd", down: true};
  let streamsShown = 25;

  function listStreams() {
    const table = get("streams");
    mark(table, streamFields, streamOrder);
    const rows = sorted(data.streams, streamOrder).slice(0, streamsShown).map(stream => {
      const row = make("tr");
      for (const {key, number} of streamFields) {
        const value = stream[key];
        const text = value === null ? "" : key === "highest" ? figure(value) : key === "first" || key === "last" ? stamp(value).slice(0, 19)
          : number ? whole.format(value) : value;
        const cell = make("td", text, number ? "number" : key === "first" || key === "last" ? "" : "name");
        if (key === "first" || key === "last") cell.noWrap = true;
        row.append(cell);
      }
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    get("morestreams").hidden = data.streams.length <= streamsShown;
  }

  paint();
  showFacts();
  filters();
  header(get("alerts"), alertFields, alertOrder, refresh);
  header(get("streams"), streamFields, streamOrder, listStreams);
  get("more").addEventListener("click", () => { shown += PAGE; list(); });
  get("morestreams").addEventListener("click", () => { streamsShown += 100; listStreams(); });
  get("summaryname").textContent = streamFields.some(field => field.key === "stream") ? "Streams" : "Sources";
  data.streams.forEach((stream, number) => { stream.number = number; });
  startTimeline();
  list();
  listStreams();
})();
