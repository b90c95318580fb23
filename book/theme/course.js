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
  if (code.textContent.length < 18) continue;
  const parts = code.textContent.split(/(?<=[_:/|])/);
  code.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]));
}

// Served by `cargo xtask book`: reload after a rebuild, and the best verdict beside each task. A copy of the
// book that is opened as files, or served by anything else, has no `/-/live` and is left alone.
const live = {
  build: null,

  async poll() {
    let answer;
    try {
      const response = await fetch("/-/live", { cache: "no-store" });
      if (!response.ok) return;
      answer = await response.json();
    } catch {
      return;
    }
    if (this.build !== null && this.build !== answer.build && !answer.error) location.reload();
    this.build = answer.build;
    this.showError(answer.error);
    this.showProgress(answer.state?.tasks ?? {});
    setTimeout(() => this.poll(), 1000);
  },

  showError(error) {
    document.querySelector(".live-error")?.remove();
    if (!error) return;
    const box = document.createElement("pre");
    box.className = "live-error";
    box.setAttribute("role", "alert");
    box.textContent = error;
    document.querySelector("main").prepend(box);
  },

  // A chapter of a task begins with the task's number in the table of contents: "1.3 From static to ...".
  showProgress(tasks) {
    for (const link of document.querySelectorAll("#mdbook-sidebar .chapter a")) {
      const task = tasks[link.textContent.match(/^\d+\.\d+(?= )/)?.[0]];
      if (!task?.best) continue;
      this.badge(link, task.best);
      const heading = document.querySelector("main h1");
      if (link.classList.contains("active") && heading) this.badge(heading, task.best);
    }
  },

  badge(parent, word) {
    let badge = parent.querySelector(".progress");
    if (!badge) {
      badge = document.createElement("span");
      badge.className = "progress";
      parent.append(badge);
    }
    badge.textContent = word;
  },
};
if (location.protocol.startsWith("http")) live.poll();
