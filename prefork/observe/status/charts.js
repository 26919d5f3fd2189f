// A line chart as SVG: up to two lines over the last ten minutes, a scale, and the current values.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 110, LEFT = 44, RIGHT = 4, TOP = 8, BOTTOM = 16;
const SPANS = [60, 120, 300, 600]; // Seconds.
const GAP = 5; // Seconds without a sample that interrupt the line.

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

// Return the next higher round number, for the top of the scale.
function ceiling(value, steps) {
  if (steps === "share") return 1;
  if (steps === "bytes" && value > 0) {
    const unit = 1024 ** Math.floor(Math.log(value) / Math.log(1024));
    return ceiling(value / unit) * unit;
  }
  if (!(value > 0)) return steps === "whole" ? 1 : 0.001;
  const power = 10 ** Math.floor(Math.log10(value));
  const found = [1, 2, 2.5, 5, 10].map(step => step * power).find(each => each >= value * 0.9999);
  return steps === "whole" ? Math.max(1, Math.ceil(found)) : found;
}

export class Chart {
  // lines: functions from a sample to a number or null. show: formats a number as text.
  constructor(parent, title, lines, show, {names = [], steps = ""} = {}) {
    Object.assign(this, {lines, show, names, steps});
    const card = document.createElement("div");
    card.className = "card chart";
    this.now = document.createElement("span");
    this.now.className = "now";
    const heading = document.createElement("h2");
    heading.textContent = title;
    this.svg = element("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      preserveAspectRatio: "none", "aria-label": title});
    card.append(this.now, heading, this.svg);
    parent.append(card);
  }

  draw(samples, now) {
    // The view box has the size of the element in pixels, so that text is not stretched.
    const width = this.svg.clientWidth || WIDTH;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren();
    const all = now - (samples[0]?.at ?? now);
    const span = SPANS.find(each => each >= all) ?? SPANS.at(-1);
    const shown = samples.filter(sample => sample.at > now - span);
    const numbers = shown.flatMap(s => this.lines.map(line => line(s)).filter(n => n !== null));
    const top = ceiling(Math.max(0, ...numbers), this.steps);
    const x = at => LEFT + (at - now + span) / span * (width - LEFT - RIGHT);
    const y = number => HEIGHT - BOTTOM - number / top * (HEIGHT - TOP - BOTTOM);
    for (const part of [0, 0.5, 1]) {
      const at = y(top * part);
      element("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at}, this.svg);
      if (part !== 0.5 || this.steps !== "whole" || top % 2 === 0)
        element("text", {x: LEFT - 5, y: at + 3, "text-anchor": "end"}, this.svg)
          .textContent = this.show(top * part);
    }
    const marks = [[span, "start"], [span / 2, "middle"], [0, "end"]];
    for (const [ago, anchor] of width < 240 ? [marks[0], marks[2]] : marks)
      element("text", {x: x(now - ago), y: HEIGHT - 3, "text-anchor": anchor}, this.svg)
        .textContent = !ago ? "now" : ago < 60 ? `−${ago} s` : `−${ago / 60} min`;
    this.lines.forEach((line, index) => this.path(shown, line, index, x, y));
    this.tell(shown.at(-1));
  }

  path(samples, line, index, x, y) {
    let path = "", area = "", last = null, begin = null;
    const close = () => {
      if (last) area += `L${x(last.at).toFixed(1)} ${y(0)}L${x(begin).toFixed(1)} ${y(0)}Z`;
    };
    for (const sample of samples) {
      const number = line(sample);
      if (number === null) continue;
      const joins = last && sample.at - last.at < GAP;
      if (!joins) { close(); begin = sample.at; }
      const point = `${joins ? "L" : "M"}${x(sample.at).toFixed(1)} ${y(number).toFixed(1)}`;
      path += point;
      area += point;
      last = sample;
    }
    close();
    if (!index) element("path", {class: "area", d: area}, this.svg);
    element("path", {class: index ? "two" : "one", d: path}, this.svg);
  }

  tell(sample) {
    this.now.replaceChildren(...this.lines.map((line, index) => {
      const part = document.createElement("span");
      part.className = index ? "two" : "one";
      const number = sample ? line(sample) : null;
      const name = this.names[index] ? `${this.names[index]} ` : "";
      part.textContent = name + (number === null ? "–" : this.show(number));
      return part;
    }));
  }
}
