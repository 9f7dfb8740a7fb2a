%{ for word in words ~}
word ${word}
%{ endfor ~}
sizes ${jsonencode(sizes)}
