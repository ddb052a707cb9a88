// The sign-in page: counts down after too many attempts.

import { data } from './alpine.js'

data('login', () => ({
  left: 0,
  waited: false,
  init() {
    this.left = Number(this.$el.dataset.wait)
    if (!this.left) return
    this.waited = true
    const timer = setInterval(() => {
      this.left -= 1
      if (this.left <= 0) clearInterval(timer)
    }, 1000)
  },
  get waiting() { return this.left > 0 },
  get reason() {
    if (!this.waited) return undefined
    return this.waiting ? `Too many attempts. Try again in ${this.left}s.` : 'You can try again now.'
  },
  submit(event) { if (this.waiting) event.preventDefault() },
}))
