// What the course adds to mdBook's pages: quizzes that take an answer first, progress and reload when served
// by `cargo xtask book`, and names for two controls that mdBook leaves without.
"use strict";

class QuizCard extends HTMLElement {
  connectedCallback() {
    const details = this.querySelector("details");
    if (!details || this.querySelector("form")) return;
    const options = this.querySelector("ol");
    const form = document.createElement("form");
    form.className = "quiz-form";
    if (options) this.addOptions(form, options);
    else this.addNumber(form);
    const button = document.createElement("button");
    button.textContent = "Check";
    const verdict = document.createElement("span");
    verdict.className = "quiz-verdict";
    verdict.setAttribute("role", "status");
    form.append(button, verdict);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new FormData(form).get("answer");
      if (given === null || given === "") {
        verdict.textContent = "Make a guess first.";
        return;
      }
      const right = Number(this.dataset.answer);
      const off = Math.abs(Number(given) - right);
      verdict.textContent = off <= Number(this.dataset.tolerance) + 1e-9 ? "Right." : "Not quite.";
      details.open = true;
    });
    details.before(form);
    if (options) options.remove();
  }

  addOptions(form, options) {
    const name = this.textContent.trim().slice(0, 80);
    const group = document.createElement("div");
    group.className = "options";
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-label", name);
    [...options.children].forEach((item, index) => {
      const label = document.createElement("label");
      label.className = "option";
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "answer";
      radio.value = String(index + 1);
      label.append(radio, " ", ...item.childNodes);
      group.append(label);
    });
    form.append(group);
  }

  addNumber(form) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "number";
    input.step = "any";
    input.name = "answer";
    label.append("Your answer ", input, " ", this.dataset.unit);
    form.append(label);
  }
}
customElements.define("quiz-card", QuizCard);

// mdBook moves between chapters with the arrow keys; inside a quiz they belong to the quiz.
document.addEventListener("keydown", (event) => {
  if (event.target.closest?.("quiz-card")) event.stopPropagation();
}, true);

// mdBook's sidebar switch is a label of a hidden checkbox: no keyboard reaches it. A button takes its place.
const label = document.getElementById("mdbook-sidebar-toggle");
const checkbox = document.getElementById("mdbook-sidebar-toggle-anchor");
if (label && checkbox) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = label.className;
  button.title = label.title;
  button.setAttribute("aria-label", label.title);
  button.setAttribute("aria-controls", "mdbook-sidebar");
  const mirror = () => button.setAttribute("aria-expanded", String(checkbox.checked));
  button.append(...label.childNodes);
  button.addEventListener("click", () => label.click());
  checkbox.addEventListener("change", mirror);
  mirror();
  label.before(button);
  label.hidden = true;
}
document.getElementById("mdbook-menu-bar")?.setAttribute("role", "banner");

// Code that scrolls must be reachable by keyboard.
for (const code of document.querySelectorAll("pre > code")) {
  if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
}

// Long names in tables may break after their separators, and nowhere else.
for (const code of document.querySelectorAll("td code")) {
  const parts = code.textContent.split(/(?<=[_:/|])/);
  code.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]));
}
