import '../addition.js'
import '../checking.js'
import '../models.js'
import '../uploads.js'
