import '../addition.js'
import '../check.js'
import '../form.js'
import '../workflow.js'
