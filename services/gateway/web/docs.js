"use strict";
// Renders /openapi.json. Swagger UI would have to come from somewhere else.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function prose(text) {
  return text.split("`").map((part, number) => (number % 2 ? element("code", part) : part));
}

function resolve(schema, document_, depth = 0) {
  if (!schema || typeof schema !== "object" || depth > 6) return schema;
  if (Array.isArray(schema)) return schema.map((part) => resolve(part, document_, depth));
  if (schema.$ref) {
    const found = schema.$ref.split("/").slice(1).reduce((value, key) => value?.[key], document_);
    return depth > 4 ? { $ref: schema.$ref } : resolve(found, document_, depth + 1);
  }
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value, document_, depth)]));
}

function kind(schema, document_) {
  const found = resolve(schema, document_) ?? {};
  if (found.anyOf) return found.anyOf.map((part) => kind(part, document_)).join(" | ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.type === "array") return `${kind(found.items, document_)}[]`;
  return found.format ?? found.type ?? "any";
}

function parameters(list, document_) {
  const table = document.createElement("table");
  const head = document.createElement("tr");
  head.append(...["Parameter", "In", "Type", "Meaning"].map((text) => { const th = element("th", text); th.scope = "col"; return th; }));
  table.append(head);
  for (const one of list) {
    const row = document.createElement("tr");
    const name = element("td");
    name.append(element("code", one.name + (one.required ? " *" : "")));
    row.append(name, element("td", one.in), element("td", kind(one.schema, document_)), element("td", one.description ?? one.schema?.description ?? ""));
    table.append(row);
  }
  return table;
}

function content(title, holder, document_) {
  const schema = holder?.content?.["application/json"]?.schema;
  if (!schema) return [];
  return [element("h3", title), element("pre", JSON.stringify(resolve(schema, document_), null, 2))];
}

function operation(path, method, item, document_) {
  const box = document.createElement("details");
  const summary = document.createElement("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), " ", ...prose(item.description?.split("\n")[0] ?? item.summary ?? ""));
  box.append(summary);
  box.addEventListener("toggle", () => {
    if (!box.open || box.dataset.filled) return;
    box.dataset.filled = "yes";
    if (item.parameters?.length) box.append(parameters(item.parameters, document_));
    box.append(...content("Body", item.requestBody, document_));
    for (const [status, response] of Object.entries(item.responses)) box.append(...content(`${status}: ${response.description}`, response, document_));
  });
  return box;
}

fetch("/openapi.json").then((response) => response.json()).then((document_) => {
  document.getElementById("description").append(...prose(document_.info.description.trim()));
  const groups = new Map();
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, item[method], document_));
    }
  }
  const holder = document.getElementById("operations");
  holder.replaceChildren(...[...groups].map(([tag, operations]) => {
    const section = document.createElement("section");
    section.append(element("h2", tag), ...operations);
    return section;
  }));
}).catch((error) => { document.getElementById("operations").textContent = `The document could not be loaded: ${error.message}`; });
