// The page at `/`: asks /predict, /explain and /feedback of the endpoint that it comes from, and loads nothing else.
// What the endpoint and the person say is put in as text, never as HTML. Offsets count code points, as Python does.

const one = (id) => document.getElementById(id);
const say = (value) => Math.abs(value) >= 1 ? String(+value.toPrecision(5)) : value.toFixed(3);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

let model, schemas, asked;

function make(tag, content = "", attributes = {}) {
  const node = document.createElement(tag);
  node.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.entries(value).forEach(([key, v]) => node.style.setProperty(key, v));
    else node[name] = value;
  }
  return node;
}

async function call(path, body) {
  const key = sessionStorage.getItem("rebert-key");
  const headers = {...(key && {Authorization: `Bearer ${key}`}), ...(body && {"Content-Type": "application/json"})};
  const response = await fetch(path, {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body)});
  const content = await response.json();
  if (response.status === 401) {
    one("access").hidden = false;
    if (!key) throw new Error(""); // the form says it all
  }
  if (!response.ok) throw new Error(`${content.error.problem} To fix: ${content.error.hint}`);
  return {content, id: response.headers.get("x-request-id")};
}

async function guarded(work) {
  const buttons = document.querySelectorAll("button");
  buttons.forEach((button) => { button.disabled = true; });
  one("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    one("problem").textContent = error instanceof TypeError ? "The endpoint does not answer." : error.message;
    one("problem").hidden = !one("problem").textContent;
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
  }
}

// --- the question -----------------------------------------------------------------------------------------------------
async function begin() {
  model = (await call("model")).content;
  schemas = (await call("openapi.json")).content.components.schemas;
  one("access").hidden = true;
  document.title = model.name;
  one("name").textContent = model.name;
  one("about").textContent = [model.description, `${model.task_type.replaceAll("_", " ")}, version ${model.version}`]
    .filter(Boolean).join(" · ");
  const request = schemas.OneRow, example = request.examples[0];
  one("inputs").replaceChildren(...model.inputs.flatMap((name, place) => [
    make("label", title(name), {htmlFor: `in-${name}`}),
    make("textarea", "", {
      id: `in-${name}`, rows: place || model.inputs.length > 1 ? 2 : 4, value: example[name], required: true,
      maxLength: request.properties[name].maxLength, autofocus: !place,
    }),
  ]));
  const skipped = new Set([...model.inputs, "top_k"]);
  const options = Object.entries(request.properties).filter(([name]) => !skipped.has(name));
  one("options").replaceChildren(...options.flatMap(([name, schema]) => field(name, schema, example[name], "opt")));
  one("more").hidden = !options.length;
  one("more").open = options.length > 0;
  one("explain").hidden = !model.explains;
  one("question").hidden = false;
}

const title = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
const isList = (schema) => schema.type === "array" && schema.items.type === "string" && !schema.items.enum;

function field(name, schema, value, prefix) {
  const id = `${prefix}-${name}`, note = make("p", schema.description ?? "", {className: "note"});
  if (schema.type === "boolean") {
    const box = make("input", "", {id, type: "checkbox", checked: value === true});
    return [make("label", [box, title(name)], {className: "tick"})];
  }
  const label = make("label", title(name), {htmlFor: id});
  if (schema.enum || schema.const) {
    const choices = (schema.enum ?? [schema.const]).map((label) => make("option", label, {value: label}));
    return [label, make("select", choices, {id, value})];
  }
  if (schema.type === "array" && schema.items.enum) {
    const boxes = schema.items.enum.map((label) => make("label", [
      make("input", "", {type: "checkbox", value: label, name: id, checked: (value ?? []).includes(label)}), label,
    ], {className: "tick"}));
    return [make("label", title(name)), make("div", boxes, {id})];
  }
  if (schema.type === "number") return [label, make("input", "", {id, type: "number", step: "any", value, required: true})];
  if (isList(schema)) return [label, make("input", "", {id, value: (value ?? []).join(", ")}), make("p", "Separated by commas.", {className: "note"})];
  if (schema.type === "string") {
    return [label, make("input", "", {id, value: value ?? "", maxLength: schema.maxLength ?? 524288}), ...(prefix === "opt" ? [note] : [])];
  }
  return [label, make("textarea", "", {id, rows: 4, value: JSON.stringify(value), spellcheck: false}), note];
}

function valueOf(name, schema, prefix) {
  const node = one(`${prefix}-${name}`);
  if (schema.type === "boolean") return node.checked;
  if (schema.type === "array" && schema.items.enum) return [...node.querySelectorAll(":checked")].map((box) => box.value);
  if (schema.type === "number") return Number(node.value);
  if (isList(schema)) return node.value.split(/[,，、]/).map((word) => word.trim()).filter(Boolean);
  if (schema.type === "string" || schema.enum || schema.const) return node.value;
  try {
    return JSON.parse(node.value);
  } catch {
    throw new Error(`${title(name)} is not JSON. To fix: write it as in the example of the API page.`);
  }
}

function question() {
  const row = Object.fromEntries(model.inputs.map((name) => [name, one(`in-${name}`).value]));
  for (const [name, schema] of Object.entries(schemas.OneRow.properties)) {
    if (!one(`opt-${name}`)) continue;
    const value = valueOf(name, schema, "opt");
    if (value !== "" && !(Array.isArray(value) && !value.length)) row[name] = value;
  }
  return row;
}

const ask = () => guarded(async () => {
  const row = question(), began = performance.now();
  const {content, id} = await call("predict", {...row, top_k: 5});
  one("took").textContent = `version ${content.version}, ${Math.round(performance.now() - began)} ms`;
  asked = {row, id, prediction: content.predictions[0]};
  one("answer").replaceChildren(...shown(asked.prediction, row));
  one("answer").hidden = false;
  one("why").hidden = true;
  offerCorrection();
});

// --- the answer -------------------------------------------------------------------------------------------------------
function shown(said, row) {
  if (said.entities) return [marked(row.text, said.entities), ...(said.entities.length ? [] : [make("p", "Nothing was found.")])];
  if ("answer" in said) return foundAnswer(said, row);
  if (said.masks) return masks(said);
  if ("value" in said) return [make("p", say(said.value), {className: "verdict"})];
  if (said.labels) {
    const chips = said.labels.map((label) => make("span", label, {className: "chip"}));
    return [make("p", chips.length ? chips : "No label applies.", {className: "verdict"}), bars(said.top.map((x) => [x.label, x.score]))];
  }
  if (said.top) {
    return [make("p", [said.label, make("small", percent(said.score))], {className: "verdict"}), bars(said.top.map((x) => [x.label, x.score]))];
  }
  return [make("pre", JSON.stringify(said, null, 1))];
}

function bars(rows, format = percent, colour = () => "var(--main)") {
  const largest = Math.max(1, ...rows.map(([, score]) => Math.abs(score)));
  return make("div", rows.flatMap(([name, score]) => [
    make("span", name),
    make("div", make("i", "", {style: {width: `${100 * Math.abs(score) / largest}%`, background: colour(score)}}), {className: "bar"}),
    make("span", format(score)),
  ]), {className: "bars"});
}

function hue(label) {
  return [...label].reduce((sum, sign) => (sum * 31 + sign.codePointAt(0)) % 360, 7);
}

function marked(text, spans) {
  const signs = Array.from(text), pieces = [];
  let place = 0;
  for (const {start, end, label, score} of [...spans].sort((a, b) => a.start - b.start)) {
    pieces.push(signs.slice(place, start).join(""));
    const tag = label ? [make("b", label)] : [];
    pieces.push(make("mark", [signs.slice(start, end).join(""), ...tag], {title: percent(score), style: {"--hue": label ? hue(label) : 150}}));
    place = end;
  }
  return make("p", [...pieces, signs.slice(place).join("")], {className: "text"});
}

function foundAnswer(said, row) {
  const head = said.answer ? [said.answer, make("small", percent(said.score))] : ["No answer in the text", make("small", percent(said.no_answer_score))];
  const spans = said.answer ? [{start: said.start, end: said.end, score: said.score}] : [];
  const others = said.candidates.map((found) => [found.text, found.score]);
  return [make("p", head, {className: "verdict"}), marked(row.context, spans), bars(others)];
}

function masks(said) {
  const groups = said.masks.flatMap((mask, place) => [
    make("h2", `Mask ${place + 1}`),
    bars([...mask.top.map((x) => [x.token, x.score]), ...mask.targets.map((x) => [x.word, x.score ?? 0])]),
    make("p", ""),
  ]);
  const usual = said.log_likelihood === null ? [] : [make("p", `Mean log likelihood of a token: ${said.log_likelihood.toFixed(3)}`)];
  return [make("p", said.filled, {className: "text"}), ...groups, ...usual];
}

// --- why --------------------------------------------------------------------------------------------------------------
const explain = () => guarded(async () => {
  const row = question();
  one("took").textContent = "asking with words left out …";
  const {content: found} = await call("explain", row);
  one("took").textContent = "";
  const largest = Math.max(...found.words.map((word) => Math.abs(word.weight)), 1e-9);
  const texts = model.inputs.map((name) => coloured(row[name], found.words.filter((word) => word.input === name), largest));
  const strongest = [...found.words].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, 10);
  const certain = found.exact ? "" : ` Weights are estimates from ${found.versions} versions of the text.`;
  one("why").replaceChildren(
    make("h2", `Why ${found.label}: ${say(found.score)}`),
    ...texts,
    bars(strongest.map((word) => [word.text, word.weight / largest]), (share) => signed(share * largest),
      (share) => `rgb(var(--${share > 0 ? "for" : "against"}))`),
    make("p", `Without any word it says ${say(found.baseline)}; all weights add up to the difference of `
      + `${signed(found.score - found.baseline)}. Green words speak for it, red ones against.${certain}`, {className: "note"}),
  );
  one("why").hidden = false;
});

function coloured(text, words, largest) {
  const signs = Array.from(text), pieces = [];
  let place = 0;
  for (const word of words) {
    pieces.push(signs.slice(place, word.start).join(""));
    const colour = `rgba(var(--${word.weight > 0 ? "for" : "against"}), ${0.6 * Math.abs(word.weight) / largest})`;
    pieces.push(make("span", word.text, {title: signed(word.weight), style: {background: colour}}));
    place = word.end;
  }
  return make("p", [...pieces, signs.slice(place).join("")], {className: "text"});
}

// --- corrections ------------------------------------------------------------------------------------------------------
function truths() {
  const beside = new Set([...model.inputs, "comment", "request"]);
  return Object.entries(schemas.Correction.properties).filter(([name]) => !beside.has(name));
}

function offerCorrection() {
  if (!model.corrections) return;
  const said = asked.prediction, own = {
    label: said.label, labels: said.labels, value: said.value, entities: said.entities?.map(({start, end, label}) => ({start, end, label})),
    answers: {text: said.answer ? [said.answer] : [], answer_start: said.answer ? [said.start] : []},
  };
  one("correction").replaceChildren(
    ...truths().flatMap(([name, schema]) => field(name, schema, own[name], "true")),
    make("div", [make("button", "Send"), make("span", "", {id: "sent", className: "note", role: "status"})], {className: "line"}),
  );
  one("correct").hidden = false;
}

const correct = () => guarded(async () => {
  const row = Object.fromEntries(model.inputs.map((name) => [name, asked.row[name]]));
  const truth = Object.fromEntries(truths().map(([name, schema]) => [name, valueOf(name, schema, "true")]));
  await call("feedback", {...row, ...truth, request: asked.id});
  one("sent").textContent = "Thank you: it is kept for the next training.";
  one("sent").classList.add("done");
});

one("question").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
one("explain").addEventListener("click", () => { if (one("question").reportValidity()) explain(); });
one("correction").addEventListener("submit", (event) => { event.preventDefault(); correct(); });
one("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("rebert-key", one("key").value);
  guarded(begin);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) one("question").requestSubmit();
});
guarded(begin);
