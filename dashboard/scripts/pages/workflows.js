import '../workflow.js'
import '../workflows.js'
