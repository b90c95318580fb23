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
    form.setAttribute("role", "radiogroup");
    form.setAttribute("aria-label", name);
    [...options.children].forEach((item, index) => {
      const label = document.createElement("label");
      label.className = "option";
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "answer";
      radio.value = String(index + 1);
      label.append(radio, " ", ...item.childNodes);
      form.append(label);
    });
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

// mdBook's sidebar switch is a label of a hidden checkbox: no keyboard reaches it, no screen reader names it.
const toggle = document.getElementById("mdbook-sidebar-toggle");
if (toggle) {
  toggle.setAttribute("role", "button");
  toggle.tabIndex = 0;
  toggle.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      toggle.click();
    }
  });
}
document.getElementById("mdbook-menu-bar")?.setAttribute("role", "banner");
